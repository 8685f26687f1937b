#include "kernels/attention/op.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>

#include "core/cpu.h"
#include "kernels/attention/implementations.h"
#include "kernels/rows/op.h"

namespace segrid {
namespace {

const KernelSwitch& choice() {
    static const KernelSwitch kernel("attention", {"tiled", "plain"});
    return kernel;
}

[[maybe_unused]] const bool registered = (choice(), true);

}  // namespace

RelativePositions::RelativePositions(const at::Tensor& rel_h, const at::Tensor& rel_w)
    : packed_(at::cat({rel_h.flip(0).t(), rel_w.flip(0).t()}, 1).contiguous()) {}

PackedHead pack_head(Precision precision, int64_t tokens, int64_t dim, const float* k,
                     const float* v, int64_t ld, float* memory, Arena& arena) {
    const int64_t panels = (tokens + kPanel - 1) / kPanel;
    if (precision == Precision::Fp32) {
        for (int64_t p = 0; p < panels; ++p) {
            transpose(std::min(kPanel, tokens - p * kPanel), dim, k + p * kPanel * ld, ld,
                      memory + p * kPanel * dim, kPanel);
        }
        float* values = memory + panels * kPanel * dim;
        for (int64_t t = 0; t < tokens; ++t) std::copy_n(v + t * ld, dim, values + t * dim);
        return {.keys = {memory, nullptr, kPanel}, .values = {values, nullptr, dim}};
    }
    const Arena::Lifetime scope(arena);
    float* panel = arena.take<float>(dim * kPanel);
    const int64_t depth = even(dim);
    auto* keys = reinterpret_cast<uint16_t*>(memory);
    uint16_t* values = keys + panels * kPanel * depth;
    for (int64_t p = 0; p < panels; ++p) {
        transpose(std::min(kPanel, tokens - p * kPanel), dim, k + p * kPanel * ld, ld, panel,
                  kPanel);
        for (int64_t d = 0; d < dim; d += 2) {
            pair_bf16(kPanel, panel + d * kPanel, d + 1 < dim ? panel + (d + 1) * kPanel : nullptr,
                      keys + (p * depth + d) * kPanel);
        }
    }
    for (int64_t t = 0; t < tokens; t += 2)
        pair_bf16(dim, v + t * ld, t + 1 < tokens ? v + (t + 1) * ld : nullptr, values + t * dim);
    return {.keys = {nullptr, keys, kPanel}, .values = {nullptr, values, dim}};
}

void grid_attention(const GridAttention& a, int64_t first, int64_t rows, const float* q,
                    int64_t ldq, float* out, int64_t ldo, Arena& arena) {
    (choice().plain() ? attention::plain : attention::tiled)(a, first, rows, q, ldq, out, ldo,
                                                             arena);
}

}  // namespace segrid
