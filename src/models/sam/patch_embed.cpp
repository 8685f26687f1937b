#include "models/sam/vision_encoder.h"

#include <algorithm>

namespace segrid::sam {

PatchEmbed::PatchEmbed(const Scope& scope, const VisionConfig& c)
    : patch_(c.patch), grid_(c.grid()), hidden_(c.hidden),
      projection_((scope / "patch_embed" / "projection").tensor("weight", {c.hidden, 3, c.patch, c.patch})
                      .reshape({c.hidden, 3 * c.patch * c.patch}),
                  (scope / "patch_embed" / "projection").tensor("bias", {c.hidden}), scope.precision()) {
    if (c.absolute_positions) {
        positions_ = scope.tensor("pos_embed", {1, grid_, grid_, hidden_}).view({grid_ * grid_, hidden_});
    }
}

void PatchEmbed::operator()(int64_t y, const ModelInput& input, float* out, Arena& arena) const {
    const PreprocessSpec spec;
    const int64_t inputs = 3 * patch_ * patch_, width = input.size.width;
    float* patches = arena.take<float>(grid_ * inputs);  // [grid][channel][row][column]
    std::fill_n(patches, grid_ * inputs, 0.0F);
    for (int64_t row = 0; row < std::min(patch_, input.size.height - y * patch_); ++row) {
        int64_t number = (y * patch_ + row) * width * 3;
        for (int64_t x = 0; x < width; ++x) {
            float* to = patches + x / patch_ * inputs + row * patch_ + x % patch_;
            for (int64_t channel = 0; channel < 3; ++channel) {
                to[channel * patch_ * patch_] = input.normalised(spec, number++);
            }
        }
    }
    projection_(grid_, patches, inputs, out, hidden_);
    if (positions_.defined()) add(grid_ * hidden_, out, positions_.const_data_ptr<float>() + y * grid_ * hidden_, out);
}

}  // namespace segrid::sam
