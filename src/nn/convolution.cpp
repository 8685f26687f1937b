#include "nn/convolution.h"

#include <ATen/Functions.h>

#include <algorithm>

namespace segrid {

StridedConvolution::StridedConvolution(const at::Tensor& weight, at::Tensor bias,
                                       Precision precision)
    : in_(weight.size(1)),
      kernel_(weight.size(2)),
      product_(weight.permute({0, 2, 3, 1}).reshape({weight.size(0), -1}).contiguous(),
               std::move(bias), precision) {}

void StridedConvolution::operator()(const float* const* rows, int64_t side, float* out,
                                    Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t places = side / 2, inputs = kernel_ * kernel_ * in_;
    float* patches = arena.take<float>(places * inputs);  // (row, column, channel)
    std::fill_n(patches, places * inputs, 0.0F);
    for (int64_t k = 0; k < kernel_; ++k) {
        if (rows[k] == nullptr) continue;
        for (int64_t x = 0; x < places; ++x) {
            const int64_t left = 2 * x - kernel_ / 2;
            const int64_t first = std::max<int64_t>(0, left), last = std::min(side, left + kernel_);
            std::copy_n(rows[k] + first * in_, (last - first) * in_,
                        patches + x * inputs + (k * kernel_ + first - left) * in_);
        }
    }
    product_(places, patches, inputs, out, product_.weight().n());
}

DepthwiseConvolution::DepthwiseConvolution(const at::Tensor& weight, at::Tensor bias,
                                           int64_t stride)
    : channels_(weight.size(0)),
      kernel_(weight.size(2)),
      stride_(stride),
      taps_(weight.reshape({channels_, -1}).t().contiguous()),
      bias_(std::move(bias)) {}

void DepthwiseConvolution::operator()(const float* const* rows, int64_t side, float* out) const {
    const float* taps = taps_.const_data_ptr<float>();
    for (int64_t x = 0; x < side / stride_; ++x) {
        float* to = out + x * channels_;
        std::copy_n(bias_.const_data_ptr<float>(), channels_, to);
        for (int64_t k = 0; k < kernel_ * kernel_; ++k) {
            const float* row = rows[k / kernel_];
            const int64_t column = x * stride_ - kernel_ / 2 + k % kernel_;
            if (row == nullptr || column < 0 || column >= side) continue;
            multiply_add(channels_, row + column * channels_, taps + k * channels_, to);
        }
    }
}

}  // namespace segrid
