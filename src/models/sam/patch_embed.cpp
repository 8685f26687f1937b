#include "models/sam/vision_encoder.h"

namespace segrid::sam {

PatchEmbed::PatchEmbed(const WeightScope& scope, const VisionConfig& c)
    : patch_(c.patch),
      grid_(c.grid()),
      hidden_(c.hidden),
      projection_((scope / "patch_embed" / "projection")
                      .tensor("weight", {c.hidden, 3, c.patch, c.patch})
                      .reshape({c.hidden, 3 * c.patch * c.patch}),
                  (scope / "patch_embed" / "projection").tensor("bias", {c.hidden}),
                  scope.precision()) {
    if (c.absolute_positions) {
        positions_ =
            scope.tensor("pos_embed", {1, grid_, grid_, hidden_}).view({grid_ * grid_, hidden_});
    }
}

void PatchEmbed::operator()(int64_t y, const ModelInput& input, float* out, Arena& arena) const {
    const int64_t inputs = 3 * patch_ * patch_;
    float* patches = arena.take<float>(grid_ * inputs);
    gather_patches(input, PreprocessSpec{}, patch_, grid_, y, patches);
    projection_(grid_, patches, inputs, out, hidden_);
    if (positions_.defined())
        add(grid_ * hidden_, out, positions_.const_data_ptr<float>() + y * grid_ * hidden_, out);
}

}  // namespace segrid::sam
