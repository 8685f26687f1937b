// A convolution with its BatchNorm folded in at load.
#pragma once

#include "nn/layers.h"

namespace segrid {

// A convolution without a bias ("c") and the BatchNorm that follows it ("bn"), as one convolution.
// in: channels that each output reads. In fp32 on the CPU.
struct FoldedConvolution {
    at::Tensor weight, bias;  // [out, in, kernel, kernel], [out]
    FoldedConvolution(const WeightScope& scope, int64_t in, int64_t out, int64_t kernel);
    FoldedConvolution(at::Tensor all_weights, at::Tensor all_biases)
        : weight(std::move(all_weights)), bias(std::move(all_biases)) {}
    // Folds another BatchNorm, over all outputs, into this one.
    FoldedConvolution normed(const WeightScope& bn) const;
    // A 1x1 convolution as a Linear.
    Linear pointwise(Precision precision) const;
};

}  // namespace segrid
