#include "nn/folded_convolution.h"

#include <ATen/ATen.h>

namespace segrid {
namespace {

// The factor and the offset per channel that a BatchNorm amounts to.
std::pair<at::Tensor, at::Tensor> scale_and_offset(const WeightScope& bn, int64_t channels) {
    const at::Tensor scale = bn.tensor("weight", {channels}) /
                             (bn.tensor("running_var", {channels}).clamp_min(0) + 1e-5).sqrt();
    bn.leave("num_batches_tracked");  // which only training uses
    return {scale, bn.tensor("bias", {channels}) - bn.tensor("running_mean", {channels}) * scale};
}

}  // namespace

FoldedConvolution::FoldedConvolution(const WeightScope& s, int64_t in, int64_t out,
                                     int64_t kernel) {
    const auto [scale, offset] = scale_and_offset(s / "bn", out);
    weight = (s / "c").tensor("weight", {out, in, kernel, kernel}) * scale.view({out, 1, 1, 1});
    bias = offset.contiguous();
}

FoldedConvolution FoldedConvolution::normed(const WeightScope& bn) const {
    const auto [scale, offset] = scale_and_offset(bn, bias.size(0));
    return {weight * scale.view({-1, 1, 1, 1}), (bias * scale + offset).contiguous()};
}

Linear FoldedConvolution::pointwise(Precision precision) const {
    return {weight.view({weight.size(0), weight.size(1)}).contiguous(), bias, precision};
}

}  // namespace segrid
