#include "models/mobile_sam/tiny_vit_plain.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace segrid::plain {
namespace {

Bottleneck bottleneck(const Weights& w, const mobile_sam::BottleneckShape& c) {
    return {NormedConvolution(w / "conv1", c.in, c.hidden, 1, 1),
            NormedConvolution(w / "conv2", c.hidden, c.hidden, 3, c.stride, c.hidden),
            NormedConvolution(w / "conv3", c.hidden, c.out, 1, 1), c.residual};
}

}  // namespace

at::Tensor Bottleneck::operator()(const at::Tensor& x) const {
    const at::Tensor out = last(at::gelu(middle(at::gelu(first(x)))));
    return residual ? at::gelu(out + x) : out;
}

TinyVitBlock::TinyVitBlock(const Weights& w, const mobile_sam::TinyVitConfig& c, std::size_t stage)
    : heads_(c.heads[stage]), window_(c.windows[stage]) {
    const int64_t dim = c.dims[stage];
    norm_ = LayerNorm(w / "attn" / "norm", dim, 1e-5F);
    qkv_ = Linear(w / "attn" / "qkv", dim, 3 * dim);
    projection_ = Linear(w / "attn" / "proj", dim, dim);
    local_ = NormedConvolution(w / "local_conv", dim, dim, 3, 1, dim);
    mlp_ = NormedMlp(w / "mlp" / "norm", w / "mlp" / "fc1", w / "mlp" / "fc2", dim,
                     static_cast<int64_t>(static_cast<double>(dim) * c.mlp_ratio), 1e-5F);
    // The table has one value per head and distance (|dy|, |dx|); each pair of places gets its own.
    const int64_t places = window_ * window_;
    const at::Tensor table = (w.scope() / "attn").tensor("attention_biases", {heads_, places});
    const at::Tensor y = at::arange(places, at::kLong).div(window_, "floor"),
                     x = at::arange(places, at::kLong).remainder(window_);
    const at::Tensor distance = (y.unsqueeze(1) - y).abs() * window_ + (x.unsqueeze(1) - x).abs();
    biases_ = w.place(table.index_select(1, distance.flatten()).view({1, heads_, places, places}));
}

at::Tensor TinyVitBlock::operator()(const at::Tensor& x) const {
    const int64_t side = x.size(1), dim = x.size(3);
    // The file's rows of qkv are ordered by head, [q | k | v] for each.
    const at::Tensor qkv = qkv_(norm_(to_windows(x, window_)));
    const at::Tensor by_head =
        qkv.view({qkv.size(0), qkv.size(1), heads_, 3, dim / heads_}).permute({3, 0, 2, 1, 4});
    const at::Tensor attended =
        merge_heads(attend(by_head[0], by_head[1], by_head[2],
                           1.0 / std::sqrt(static_cast<double>(dim / heads_)), biases_));
    const at::Tensor sum = x + from_windows(projection_(attended), window_, side);
    const at::Tensor local = channels_last(local_(channels_first(sum)));
    return local + mlp_(local);
}

TinyVit::TinyVit(const Weights& w, const mobile_sam::TinyVitConfig& c)
    : first_(w / "patch_embed" / "seq" / "0", 3, c.dims[0] / 2, 3, 2),
      second_(w / "patch_embed" / "seq" / "2", c.dims[0] / 2, c.dims[0], 3, 2),
      neck_(w / "neck", c.dims.back(), c.output) {
    // A bottleneck's input and output, and its middle three times: before and after GELU, and
    // after the second convolution.
    const auto values = [](const mobile_sam::BottleneckShape& b) {
        return b.side * b.side * (b.in + 3 * b.hidden + b.out);
    };
    values_ = std::max(values(c.convolution()), values(c.merge(1)));
    const Weights layers = w / "layers";
    for (int64_t i = 0; i < c.depths[0]; ++i) {
        convolutions_.push_back(bottleneck(layers / "0" / "blocks" / i, c.convolution()));
    }
    for (std::size_t stage = 1; stage < mobile_sam::kStages; ++stage) {
        merges_.push_back(
            bottleneck(layers / static_cast<int64_t>(stage - 1) / "downsample", c.merge(stage)));
        auto& blocks = stages_.emplace_back();
        for (int64_t i = 0; i < c.depths[stage]; ++i)
            blocks.emplace_back(layers / static_cast<int64_t>(stage) / "blocks" / i, c, stage);
    }
}

at::Tensor TinyVit::operator()(const at::Tensor& images, const Tap* tap) const {
    at::Tensor x = second_(at::gelu(first_(images)));
    tell(tap, "patch_embed", channels_last(x));
    for (const Bottleneck& block : convolutions_) x = block(x);
    for (std::size_t i = 0; i < stages_.size(); ++i) {
        x = merges_[i](x);
        tell(tap, "stage_" + std::to_string(i), channels_last(x));
        at::Tensor tokens = channels_last(x);
        for (const TinyVitBlock& block : stages_[i]) tokens = block(tokens);
        x = channels_first(tokens);
    }
    tell(tap, "stage_3", channels_last(x));
    const at::Tensor features = neck_(channels_last(x));
    tell(tap, "neck", features);
    return features.flatten(1, 2);
}

}  // namespace segrid::plain
