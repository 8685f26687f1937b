#include "models/edgetam/repvit_plain.h"

#include <ATen/ATen.h>

#include <string>

#include "models/edgetam/repvit.h"

namespace segrid::plain {

RepVitMlp::RepVitMlp(const Weights& w, int64_t dim, int64_t hidden)
    : in(w / "conv1", dim, hidden, 1, 1), out(w / "conv2", hidden, dim, 1, 1) {}

at::Tensor RepVitMlp::operator()(const at::Tensor& x) const { return x + out(at::gelu(in(x))); }

RepVitGate::RepVitGate(const Weights& w, int64_t channels) {
    const int64_t narrow = edgetam::squeezed(channels);
    in = (w / "fc1").tensor("weight", {narrow, channels, 1, 1});
    in_bias = (w / "fc1").tensor("bias", {narrow});
    out = (w / "fc2").tensor("weight", {channels, narrow, 1, 1});
    out_bias = (w / "fc2").tensor("bias", {channels});
}

at::Tensor RepVitGate::operator()(const at::Tensor& x) const {
    const at::Tensor mean = x.mean({2, 3}, /*keepdim=*/true);
    const at::Tensor middle = at::relu(convolution(mean, in, in_bias, 1, 0));
    return at::sigmoid(convolution(middle, out, out_bias, 1, 0));
}

RepVitBlock::RepVitBlock(const Weights& w, const edgetam::RepVitConfig& c, std::size_t stage,
                         bool gated)
    : mixer(w, edgetam::token_mixer((w / "token_mixer").scope(), c.dims[stage], c.norm_per_branch),
            1, c.dims[stage]),
      mlp(w / "channel_mixer", c.dims[stage], c.mlp_ratio * c.dims[stage]) {
    if (gated) gate.emplace(w / "se", c.dims[stage]);
}

at::Tensor RepVitBlock::operator()(const at::Tensor& input) const {
    at::Tensor x = mixer(input);
    if (gate) x = x * (*gate)(x);
    return mlp(x);
}

RepVitDownsampling::RepVitDownsampling(const Weights& w, const edgetam::RepVitConfig& c,
                                       std::size_t stage)
    : before(w / "pre_block", c, stage - 1, /*gated=*/false),
      spatial(w / "spatial_downsample", c.dims[stage - 1], c.dims[stage - 1], 3, 2,
              c.dims[stage - 1]),
      widen(w / "channel_downsample", c.dims[stage - 1], c.dims[stage], 1, 1),
      mlp(w / "ffn", c.dims[stage], c.mlp_ratio * c.dims[stage]) {}

at::Tensor RepVitDownsampling::operator()(const at::Tensor& x) const {
    return mlp(widen(spatial(before(x))));
}

RepVit::RepVit(const Weights& vision, const Weights& decoder, const edgetam::EdgeTamConfig& c)
    : neck_(vision, decoder, c) {
    const Weights model = vision / "backbone" / "timm_model";
    const edgetam::RepVitConfig& r = c.repvit;
    // The first stage is the largest: the middle of its MLPs twice, and what goes around it.
    values_ = r.grid(0) * r.grid(0) * r.dims[0] * (2 * r.mlp_ratio + 4);
    stem1_ = NormedConvolution(model / "stem" / "conv1", 3, r.dims[0] / 2, 3, 2);
    stem2_ = NormedConvolution(model / "stem" / "conv2", r.dims[0] / 2, r.dims[0], 3, 2);
    for (std::size_t stage = 0; stage < edgetam::kStages; ++stage) {
        const Weights s = model / ("stages_" + std::to_string(stage));
        if (stage > 0) downsamplings_.emplace_back(s / "downsample", r, stage);
        auto& blocks = stages_.emplace_back();
        for (int64_t i = 0; i < r.depths[stage]; ++i)
            blocks.emplace_back(s / "blocks" / i, r, stage, /*gated=*/i % 2 == 0);
    }
}

Features RepVit::operator()(const at::Tensor& images, const Tap* tap) const {
    at::Tensor x = stem2_(at::gelu(stem1_(images)));
    tell(tap, "stem", channels_last(x));
    std::array<at::Tensor, edgetam::kStages> stages;
    for (std::size_t stage = 0; stage < edgetam::kStages; ++stage) {
        if (stage > 0) x = downsamplings_[stage - 1](x);
        for (const RepVitBlock& block : stages_[stage]) x = block(x);
        stages[stage] = channels_last(x);
        tell(tap, "stage_" + std::to_string(stage), stages[stage]);
    }
    return neck_(stages, tap);
}

}  // namespace segrid::plain
