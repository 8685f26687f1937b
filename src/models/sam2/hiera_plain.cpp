#include "models/sam2/hiera_plain.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace segrid::plain {

HieraBlock::HieraBlock(const Weights& w, const sam2::HieraConfig& c, int64_t stage, bool first,
                       int64_t layer)
    : heads_(c.heads[static_cast<std::size_t>(stage)]), pools_(first && stage > 0) {
    // A stage begins in the windows of the previous stage.
    const auto before = static_cast<std::size_t>(pools_ ? stage - 1 : stage);
    const int64_t in = c.dims[before], out = c.dims[static_cast<std::size_t>(stage)];
    const bool global =
        std::find(c.global_blocks.begin(), c.global_blocks.end(), layer) != c.global_blocks.end();
    window_ = global ? 0 : c.windows[before];
    norm_ = LayerNorm(w / "layer_norm1", in, c.eps);
    qkv_ = Linear(w / "attn" / "qkv", in, 3 * out);
    projection_ = Linear(w / "attn" / "proj", out, out);
    if (in != out) shortcut_ = Linear(w / "proj", in, out);
    mlp_ = NormedMlp(w / "layer_norm2", w / "mlp" / "proj_in", w / "mlp" / "proj_out", out,
                     static_cast<int64_t>(static_cast<double>(out) * c.mlp_ratio), c.eps);
}

at::Tensor HieraBlock::operator()(const at::Tensor& x) const {
    const int64_t images = x.size(0), side = x.size(1), extent = window_ > 0 ? window_ : side,
                  asking = pools_ ? extent / 2 : extent;
    const at::Tensor normed = norm_(x);
    const auto parts =
        qkv_(window_ > 0 ? to_windows(normed, window_) : normed.reshape({images, side * side, -1}))
            .chunk(3, 2);
    at::Tensor q = parts[0];
    if (pools_)
        q = pool_by_two(q.reshape({q.size(0), extent, extent, q.size(2)}))
                .reshape({q.size(0), asking * asking, q.size(2)});
    q = split_heads(q, heads_);
    const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
    const at::Tensor attended = projection_(merge_heads(
        attend(q, split_heads(parts[1], heads_), split_heads(parts[2], heads_), scale)));
    const int64_t result = pools_ ? side / 2 : side;
    const at::Tensor placed = window_ > 0 ? from_windows(attended, asking, result)
                                          : attended.view({images, result, result, -1});
    const at::Tensor kept = shortcut_ ? (*shortcut_)(normed) : x,
                     sum = (pools_ ? pool_by_two(kept) : kept) + placed;
    return sum + mlp_(sum);
}

Hiera::Hiera(const Weights& vision, const Weights& decoder, const sam2::Sam2Config& c)
    : config_(c.hiera), neck_(vision, decoder, c) {
    const Weights backbone = vision / "backbone",
                  embedding = backbone / "patch_embed" / "projection";
    const sam2::HieraConfig& h = c.hiera;
    const int64_t grid = h.grid(0), window = h.windows.front();
    patches_ = embedding.tensor("weight", {h.hidden, 3, h.kernel, h.kernel});
    bias_ = embedding.tensor("bias", {h.hidden});
    const at::Tensor coarse =
        backbone.scope().tensor("pos_embed", {1, h.hidden, h.background, h.background});
    const at::Tensor of_window =
        backbone.scope().tensor("pos_embed_window", {1, h.hidden, window, window});
    positions_ = vision.place((at::upsample_bicubic2d(coarse, {grid, grid}, false) +
                               of_window.repeat({1, 1, grid / window, grid / window}))
                                  .squeeze(0)
                                  .permute({1, 2, 0}));
    int64_t layer = 0;
    for (int64_t stage = 0; stage < sam2::kStages; ++stage) {
        auto& blocks = stages_.emplace_back();
        for (int64_t i = 0; i < h.blocks[static_cast<std::size_t>(stage)]; ++i, ++layer)
            blocks.emplace_back(backbone / "blocks" / layer, h, stage, i == 0, layer);
    }
}

// A block holds at most 14 times its input: where a stage begins, the queries, keys and values of
// the grid before, else the middle of its MLP twice and what goes around it.
int64_t Hiera::values_per_image() const {
    int64_t kept = 0, widest = 0;
    for (int64_t stage = 0; stage < sam2::kStages; ++stage) {
        const int64_t side = config_.grid(stage),
                      values = side * side * config_.dims[static_cast<std::size_t>(stage)];
        kept += values;
        widest = std::max(widest, 14 * values);
    }
    return kept + widest;
}

Features Hiera::operator()(const at::Tensor& images, const Tap* tap) const {
    at::Tensor x = convolution(images, patches_, bias_, config_.stride, config_.padding)
                       .permute({0, 2, 3, 1}) +
                   positions_;
    tell(tap, "patch_embed", x);
    std::array<at::Tensor, sam2::kStages> stages;
    int64_t layer = 0;
    for (std::size_t stage = 0; stage < sam2::kStages; ++stage) {
        for (const HieraBlock& block : stages_[stage]) {
            x = block(x);
            tell(tap, "block_" + std::to_string(layer++), x);
        }
        stages[stage] = x;
    }
    return neck_(stages, tap);
}

}  // namespace segrid::plain
