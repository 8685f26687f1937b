#include "models/owlv2/vision_plain.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace segrid::plain {

ClipLayer::ClipLayer(const Weights& w, const owlv2::TowerConfig& c)
    : heads_(c.heads),
      norm_(w / "layer_norm1", c.hidden, c.eps),
      q_(w / "self_attn" / "q_proj", c.hidden, c.hidden),
      k_(w / "self_attn" / "k_proj", c.hidden, c.hidden),
      v_(w / "self_attn" / "v_proj", c.hidden, c.hidden),
      out_(w / "self_attn" / "out_proj", c.hidden, c.hidden),
      mlp_(w / "layer_norm2", w / "mlp" / "fc1", w / "mlp" / "fc2", c.hidden, c.mlp, c.eps,
           c.activation) {}

at::Tensor ClipLayer::operator()(const at::Tensor& x, const at::Tensor& bias) const {
    const at::Tensor normed = norm_(x), q = split_heads(q_(normed), heads_);
    const at::Tensor sum =
        x +
        out_(merge_heads(attend(q, split_heads(k_(normed), heads_), split_heads(v_(normed), heads_),
                                1.0 / std::sqrt(static_cast<double>(q.size(3))), bias)));
    return sum + mlp_(sum);
}

Owlv2Vision::Owlv2Vision(const Weights& root, const owlv2::Owlv2Config& c,
                         const PreprocessSpec& preprocess)
    : config_(c), preprocess_(preprocess), placement_(root.placement()) {
    const Weights tower = root / c.family / "vision_model", embeddings = tower / "embeddings",
                  head = root / "class_head";
    const int64_t hidden = c.vision.hidden;
    patches_ = Linear((embeddings / "patch_embedding")
                          .tensor("weight", {hidden, 3, c.patch, c.patch})
                          .view({hidden, 3 * c.patch * c.patch}),
                      at::Tensor());
    class_token_ = embeddings.tensor("class_embedding", {hidden}).unsqueeze(0);
    positions_ =
        (embeddings / "position_embedding").tensor("weight", {1 + c.grid() * c.grid(), hidden});
    before_ = LayerNorm(tower / "pre_layernorm", hidden, c.vision.eps);
    after_ = LayerNorm(tower / "post_layernorm", hidden, c.vision.eps);
    merged_ = LayerNorm(root / "layer_norm", hidden, c.vision.eps);
    for (int64_t i = 0; i < c.vision.layers; ++i)
        layers_.emplace_back(tower / "encoder" / "layers" / i, c.vision);
    classes_ = Linear(head / "dense0", hidden, c.text.hidden);
    shift_ = Linear(head / "logit_shift", hidden, 1);
    scale_ = Linear(head / "logit_scale", hidden, 1);
}

int64_t Owlv2Vision::bytes_per_image() const {
    const owlv2::TowerConfig& c = config_.vision;
    const int64_t tokens = 1 + config_.grid() * config_.grid(),
                  values = tokens * (3 * c.hidden + std::max(2 * c.mlp, 5 * c.hidden)),
                  pixels = 3 * config_.image * config_.image;
    return pixels * static_cast<int64_t>(3 * sizeof(float)) +
           values * static_cast<int64_t>(c10::elementSize(placement_.type));
}

std::vector<DetectionFeatures> Owlv2Vision::operator()(const std::vector<ModelInput>& inputs,
                                                       const Schedule& schedule,
                                                       const Tap* tap) const {
    std::vector<DetectionFeatures> out;
    run_on_devices(schedule, [&] {
        const auto count = static_cast<int64_t>(inputs.size());
        const int64_t grid = config_.grid(), patch = config_.patch;
        const at::Tensor images = pixels(inputs, preprocess_, placement_)
                                      .narrow(2, 0, grid * patch)
                                      .narrow(3, 0, grid * patch);
        const at::Tensor rows = images.reshape({count, 3, grid, patch, grid, patch})
                                    .permute({0, 2, 4, 1, 3, 5})
                                    .reshape({count, grid * grid, -1});
        // The class token comes first.
        at::Tensor x =
            before_(at::cat({class_token_.expand({count, 1, -1}), patches_(rows)}, 1) + positions_);
        tell(tap, "embeddings", x);
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            x = layers_[i](x);
            tell(tap, "layer_" + std::to_string(i), x);
        }
        x = after_(x);
        const at::Tensor merged = merged_(x.narrow(1, 1, grid * grid) * x.narrow(1, 0, 1));
        tell(tap, "merged", merged);
        check_finite(merged, config_.family + "'s vision tower");
        const at::Tensor classes = classes_(merged).to(at::kFloat);
        const at::Tensor length = 1.0F / (classes.square().sum(2, true).sqrt() + 1e-6);
        const at::Tensor scoring = at::cat(
            {length, shift_(merged).to(at::kFloat), at::elu(scale_(merged).to(at::kFloat)) + 1.0},
            2);
        for (int64_t i = 0; i < count; ++i)
            out.push_back({on_host(merged[i]), on_host(classes[i]), on_host(scoring[i])});
    });
    return out;
}

}  // namespace segrid::plain
