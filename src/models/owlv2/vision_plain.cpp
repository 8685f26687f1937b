#include "models/owlv2/vision_plain.h"

#include <ATen/ATen.h>

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

at::Tensor ClipLayer::operator()(const at::Tensor& x) const {
    const at::Tensor normed = norm_(x), q = split_heads(q_(normed), heads_);
    const at::Tensor sum =
        x +
        out_(merge_heads(attend(q, split_heads(k_(normed), heads_), split_heads(v_(normed), heads_),
                                1.0 / std::sqrt(static_cast<double>(q.size(3))))));
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

DetectionFeatures Owlv2Vision::operator()(const ModelInput& input, const Schedule& schedule,
                                          const Tap* tap) const {
    DetectionFeatures out;
    run_on_devices(schedule, [&] {
        const int64_t grid = config_.grid(), patch = config_.patch;
        const at::Tensor image = pixels(input, preprocess_, placement_)
                                     .narrow(2, 0, grid * patch)
                                     .narrow(3, 0, grid * patch);
        const at::Tensor rows = image.reshape({3, grid, patch, grid, patch})
                                    .permute({1, 3, 0, 2, 4})
                                    .reshape({grid * grid, -1});
        // The class token comes first.
        at::Tensor x = before_(at::cat({class_token_, patches_(rows)}) + positions_).unsqueeze(0);
        tell(tap, "embeddings", x);
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            x = layers_[i](x);
            tell(tap, "layer_" + std::to_string(i), x);
        }
        x = after_(x.squeeze(0));
        const at::Tensor merged = merged_(x.narrow(0, 1, grid * grid) * x.narrow(0, 0, 1));
        tell(tap, "merged", merged);
        check_finite(merged, config_.family + "'s vision tower");
        const at::Tensor classes = classes_(merged).to(at::kFloat);
        const at::Tensor length = 1.0F / (classes.square().sum(1, true).sqrt() + 1e-6);
        out.patches = on_host(merged);
        out.classes = on_host(classes);
        out.scoring = on_host(at::cat(
            {length, shift_(merged).to(at::kFloat), at::elu(scale_(merged).to(at::kFloat)) + 1.0},
            1));
    });
    return out;
}

}  // namespace segrid::plain
