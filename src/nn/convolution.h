// Convolutions over square grids with zero padding, one output row at a time. Rows of a grid are
// [column][channel]. Kernels are square and odd.
#pragma once

#include "nn/layers.h"

namespace segrid {

// Stride 2.
class StridedConvolution {
public:
    // weight: [out, in, kernel, kernel]; bias: [out].
    StridedConvolution(const at::Tensor& weight, at::Tensor bias, Precision precision);
    int64_t out() const { return product_.weight().n(); }
    int64_t kernel() const { return kernel_; }
    // Writes the output row y, of side / 2 columns, from the `kernel` input rows whose middle is
    // row 2 y. A row beyond the edge is null.
    void operator()(const float* const* rows, int64_t side, float* out, Arena& arena) const;

private:
    int64_t in_, kernel_;
    Linear product_;
};

class DepthwiseConvolution {
public:
    DepthwiseConvolution() = default;
    // weight: [channels, 1, kernel, kernel]; bias: [channels].
    DepthwiseConvolution(const at::Tensor& weight, at::Tensor bias, int64_t stride = 1);
    int64_t kernel() const { return kernel_; }
    // Writes one output row, of side / stride columns, from the `kernel` input rows around it. A
    // row beyond the edge is null.
    void operator()(const float* const* rows, int64_t side, float* out) const;

private:
    int64_t channels_ = 0, kernel_ = 0, stride_ = 1;
    at::Tensor taps_, bias_;  // [kernel^2, channels], [channels]
};

// The rows of a grid, `width` floats each, around row y: those of a kernel. Null beyond the edge.
inline std::vector<const float*> rows_around(const float* grid, int64_t side, int64_t width,
                                             int64_t y, int64_t kernel) {
    std::vector<const float*> rows(static_cast<std::size_t>(kernel), nullptr);
    for (int64_t k = 0; k < kernel; ++k) {
        const int64_t row = y - kernel / 2 + k;
        if (row >= 0 && row < side) rows[static_cast<std::size_t>(k)] = grid + row * width;
    }
    return rows;
}

}  // namespace segrid
