#include "kernels/upscale/op.h"

#include <ATen/Functions.h>

#include "core/cpu.h"
#include "kernels/upscale/implementations.h"

namespace segrid {
namespace {

const KernelSwitch& choice() {
    static const KernelSwitch kernel("upscale", {"tiled", "plain"});
    return kernel;
}

[[maybe_unused]] const bool registered = (choice(), true);

// (in, out, 2, 2) -> [4 out, in], with rows in the order (dy, dx, out).
at::Tensor as_linear(const at::Tensor& w) {
    return w.permute({2, 3, 1, 0}).reshape({4 * w.size(1), w.size(0)}).contiguous();
}

}  // namespace

UpscaleWeights::UpscaleWeights(const at::Tensor& w1, const at::Tensor& b1, at::Tensor gamma,
                               at::Tensor beta, const at::Tensor& w2, const at::Tensor& b2,
                               float eps, Precision precision)
    : first(as_linear(w1), precision),
      exact(precision == Precision::Fp32 ? first : PackedMatrix(as_linear(w1), Precision::Fp32)),
      first_bias(b1.repeat({4})),
      gamma(std::move(gamma)),
      beta(std::move(beta)),
      eps(eps),
      second(as_linear(w2), Precision::Fp32),
      second_bias(b2.repeat({4})),
      c1(w1.size(1)),
      c2(w2.size(1)) {}

at::Tensor in_upscale_order(const at::Tensor& pixels, int64_t grid_h, int64_t grid_w,
                            int64_t levels) {
    const int64_t channels = pixels.size(-1);
    if (levels == 1)
        return pixels.view({grid_h, 2, grid_w, 2, channels}).permute({0, 2, 1, 3, 4}).contiguous();
    return pixels.view({grid_h, 2, 2, grid_w, 2, 2, channels})
        .permute({0, 3, 1, 4, 2, 5, 6})
        .contiguous();
}

int64_t hyper_columns(int64_t masks) {
    const int64_t step = narrowest(Precision::Fp32);
    return (masks + step - 1) / step * step;
}

void upscale_masks(const UpscaleWeights& w, const UpscaleInput& input, int64_t first, int64_t last,
                   Rows<float> logits, Arena& arena) {
    if (choice().plain()) upscale::plain(w, input, first, last, logits);
    else upscale::tiled(w, input, first, last, logits, arena);
}

}  // namespace segrid
