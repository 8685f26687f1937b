#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <algorithm>

#include "models/sam2/hiera.h"

namespace segrid::sam2 {

PatchEmbed::PatchEmbed(const WeightScope& scope, const HieraConfig& c)
    : image_(c.image),
      kernel_(c.kernel),
      stride_(c.stride),
      padding_(c.padding),
      grid_(c.grid(0)),
      hidden_(c.hidden),
      // A row of the weight is ordered (row, column, channel), as pixels are.
      projection_((scope / "patch_embed" / "projection")
                      .tensor("weight", {c.hidden, 3, c.kernel, c.kernel})
                      .permute({0, 2, 3, 1})
                      .reshape({c.hidden, 3 * c.kernel * c.kernel}),
                  (scope / "patch_embed" / "projection").tensor("bias", {c.hidden}),
                  scope.precision()) {
    const int64_t window = c.windows.front();
    const at::Tensor coarse = scope.tensor("pos_embed", {1, c.hidden, c.background, c.background});
    const at::Tensor of_window = scope.tensor("pos_embed_window", {1, c.hidden, window, window});
    const at::Tensor both = at::upsample_bicubic2d(coarse, {grid_, grid_}, false) +
                            of_window.repeat({1, 1, grid_ / window, grid_ / window});
    positions_ = both.permute({0, 2, 3, 1}).reshape({grid_ * grid_, hidden_}).contiguous();
}

void PatchEmbed::operator()(int64_t y, const ModelInput& input, float* out, Arena& arena) const {
    const PreprocessSpec spec;
    const int64_t inputs = 3 * kernel_ * kernel_, padded = image_ + 2 * padding_;
    // The normalised image rows that this grid row reads, with zeros beyond the edges.
    float* rows = arena.take<float>(kernel_ * padded * 3);
    std::fill_n(rows, kernel_ * padded * 3, 0.0F);
    for (int64_t k = 0; k < kernel_; ++k) {
        const int64_t row = y * stride_ - padding_ + k;
        if (row < 0 || row >= image_) continue;
        const float* from = input.floats + row * image_ * 3;
        float* to = rows + (k * padded + padding_) * 3;
        for (int64_t x = 0; x < image_; ++x) {
            for (int64_t channel = 0; channel < 3; ++channel)
                *to++ = (*from++ - spec.mean[channel]) / spec.std[channel];
        }
    }
    float* patches = arena.take<float>(grid_ * inputs);
    for (int64_t x = 0; x < grid_; ++x) {
        for (int64_t k = 0; k < kernel_; ++k)
            std::copy_n(rows + (k * padded + x * stride_) * 3, 3 * kernel_,
                        patches + x * inputs + k * kernel_ * 3);
    }
    projection_(grid_, patches, inputs, out, hidden_);
    add(grid_ * hidden_, out, positions_.const_data_ptr<float>() + y * grid_ * hidden_, out);
}

}  // namespace segrid::sam2
