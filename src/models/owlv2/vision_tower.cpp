#include <ATen/Functions.h>

#include <algorithm>

#include "core/fresh_tensor.h"
#include "models/owlv2/towers.h"

namespace segrid::owlv2 {

VisionTower::VisionTower(const WeightScope& root, const Owlv2Config& c,
                         const PreprocessSpec& preprocess)
    : config_(c), preprocess_(preprocess) {
    const WeightScope tower = root / c.family / "vision_model", embeddings = tower / "embeddings";
    const int64_t hidden = c.vision.hidden;
    patches_ = Linear((embeddings / "patch_embedding")
                          .tensor("weight", {hidden, 3, c.patch, c.patch})
                          .reshape({hidden, 3 * c.patch * c.patch}),
                      at::Tensor(), root.precision());
    class_token_ = embeddings.tensor("class_embedding", {hidden});
    positions_ =
        (embeddings / "position_embedding").tensor("weight", {1 + c.grid() * c.grid(), hidden});
    before_ = LayerNorm(tower / "pre_layernorm", hidden, c.vision.eps);
    after_ = LayerNorm(tower / "post_layernorm", hidden, c.vision.eps);
    merged_ = LayerNorm(root / "layer_norm", hidden, c.vision.eps);
    for (int64_t i = 0; i < c.vision.layers; ++i)
        layers_.emplace_back(tower / "encoder" / "layers" / i, c.vision);
}

at::Tensor VisionTower::operator()(const ModelInput& input, const Schedule& schedule,
                                   const Tap* tap) const {
    const int64_t grid = config_.grid(), hidden = config_.vision.hidden,
                  inputs = 3 * config_.patch * config_.patch, count = grid * grid;
    at::Tensor tokens = fresh_tensor({1 + count, hidden});  // the class token comes first
    float* x = tokens.mutable_data_ptr<float>();
    const float* positions = positions_.const_data_ptr<float>();
    parallel_for(grid, schedule, [&](int64_t y, Worker& worker) {
        float* patches = worker.arena.take<float>(grid * inputs);
        gather_patches(input, preprocess_, config_.patch, grid, y, patches);
        float* out = x + (1 + y * grid) * hidden;
        patches_(grid, patches, inputs, out, hidden);
        add(grid * hidden, out, positions + (1 + y * grid) * hidden, out);
        before_(grid, out, out);
        if (y > 0) return;
        add(hidden, class_token_.const_data_ptr<float>(), positions, x);
        before_(1, x, x);
    });
    const auto tell = [&](const std::string& name, const at::Tensor& value) {
        if (tap != nullptr) (*tap)(name, value.clone());
    };
    tell("embeddings", tokens);
    TokenBuffers buffers;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        layers_[i](tokens, buffers, schedule);
        tell("layer_" + std::to_string(i), tokens);
    }
    at::Tensor merged = fresh_tensor({count, hidden});
    float* out = merged.mutable_data_ptr<float>();
    over_rows(count, schedule, [&](int64_t first, int64_t rows, Arena& arena) {
        float* whole = arena.take<float>(hidden);
        after_(1, x, whole);
        after_(rows, x + (1 + first) * hidden, out + first * hidden);
        for (int64_t r = first; r < first + rows; ++r) {
            for (int64_t d = 0; d < hidden; ++d) out[r * hidden + d] *= whole[d];
        }
        merged_(rows, out + first * hidden, out + first * hidden);
    });
    tell("merged", merged);
    return merged;
}

}  // namespace segrid::owlv2
