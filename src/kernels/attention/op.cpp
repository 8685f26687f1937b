#include "kernels/attention/op.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>

#include "core/cpu.h"
#include "kernels/attention/implementations.h"

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

void pack_keys(int64_t count, int64_t head_dim, const float* k, int64_t ld, float* panels) {
    constexpr int64_t p = PackedHead::kPanel;
    for (int64_t k0 = 0; k0 < count; k0 += p) {
        const int64_t n = std::min(p, count - k0);
        float* panel = panels + k0 * head_dim;
        if (n < p) std::memset(panel, 0, static_cast<std::size_t>(p * head_dim) * sizeof(float));
        for (int64_t d0 = 0; d0 < head_dim; d0 += 16) {  // 16 x 64 blocks stay in the first-level cache
            const int64_t d1 = std::min(d0 + 16, head_dim);
            for (int64_t i = 0; i < n; ++i) {
                for (int64_t d = d0; d < d1; ++d) panel[d * p + i] = k[(k0 + i) * ld + d];
            }
        }
    }
}

void grid_attention(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq, float* out, int64_t ldo,
                    Arena& arena) {
    (choice().plain() ? attention::plain : attention::tiled)(a, first, rows, q, ldq, out, ldo, arena);
}

}  // namespace segrid
