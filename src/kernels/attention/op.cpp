#include "kernels/attention/op.h"

#include <ATen/Functions.h>

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

void grid_attention(const GridAttention& a, int64_t first, int64_t rows, const float* q,
                    int64_t ldq, float* out, int64_t ldo, Arena& arena) {
    (choice().plain() ? attention::plain : attention::tiled)(a, first, rows, q, ldq, out, ldo,
                                                             arena);
}

}  // namespace segrid
