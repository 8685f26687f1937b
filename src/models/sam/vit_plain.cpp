#include "models/sam/vit_plain.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace segrid::plain {
namespace {

// The row of the table for each pair of places: [extent, extent, d].
at::Tensor by_pair(const at::Tensor& table, int64_t extent) {
    const at::Tensor place = at::arange(extent, at::kLong);
    const at::Tensor distance = place.unsqueeze(1) - place.unsqueeze(0) + (extent - 1);
    return table.index_select(0, distance.flatten()).view({extent, extent, table.size(1)});
}

}  // namespace

VitBlock::VitBlock(const Weights& w, const sam::VisionConfig& c, int64_t layer)
    : heads_(c.heads),
      window_(c.is_global(layer) ? 0 : c.window),
      extent_(window_ > 0 ? window_ : c.grid()),
      norm_(w / "layer_norm1", c.hidden, c.eps),
      qkv_(w / "attn" / "qkv", c.hidden, 3 * c.hidden, c.qkv_bias),
      projection_(w / "attn" / "proj", c.hidden, c.hidden),
      mlp_(w / "layer_norm2", w / "mlp" / "lin1", w / "mlp" / "lin2", c.hidden, c.mlp, c.eps) {
    if (!c.relative_positions) return;
    const std::vector<int64_t> shape{2 * extent_ - 1, c.hidden / c.heads};
    const WeightScope attention = w.scope() / "attn";
    rows_ = w.place(by_pair(attention.tensor("rel_pos_h", shape), extent_));
    columns_ = w.place(by_pair(attention.tensor("rel_pos_w", shape), extent_));
    const at::Tensor one_hot = at::eye(extent_);
    const auto of_keys = [&](const at::Tensor& x) {
        return w.place(
            x.expand({extent_, extent_, extent_}).reshape({1, 1, extent_ * extent_, extent_}));
    };
    in_row_ = of_keys(one_hot.unsqueeze(1));
    in_column_ = of_keys(one_hot.unsqueeze(0));
}

// A score is scale q.k + q.rows[y, y'] + q.columns[x, x']. Each term with positions is a product,
// too: of q's products with all rows (columns), and of the key's row (column) as a one-hot vector.
// These vectors are appended to q and k, so no tensor of size queries x keys is needed.
at::Tensor VitBlock::attention(const at::Tensor& x) const {
    const int64_t count = x.size(0), d = x.size(2) / heads_, e = extent_;
    const double scale = 1.0 / std::sqrt(static_cast<double>(d));
    const auto parts = qkv_(x).chunk(3, 2);
    const at::Tensor q = split_heads(parts[0], heads_), k = split_heads(parts[1], heads_),
                     v = split_heads(parts[2], heads_);
    if (!rows_.defined()) return projection_(merge_heads(attend(q, k, v, scale)));
    const at::Tensor grid = q.reshape({count, heads_, e, e, d});
    const at::Tensor of_rows = at::matmul(grid, rows_.transpose(1, 2));  // (y, x, y')
    const at::Tensor of_columns =
        at::matmul(grid.transpose(2, 3), columns_.transpose(1, 2)).transpose(2, 3);
    const int64_t width = (d + 2 * e + 7) / 8 * 8;  // fused kernels need a multiple of 8
    const auto beside = [&](std::vector<at::Tensor> all, int64_t used) {
        if (used < width)
            all.push_back(at::zeros({count, heads_, e * e, width - used}, q.options()));
        return at::cat(all, 3);
    };
    const at::Tensor queries = beside({q * scale, of_rows.reshape({count, heads_, e * e, e}),
                                       of_columns.reshape({count, heads_, e * e, e})},
                                      d + 2 * e);
    const at::Tensor keys = beside(
        {k, in_row_.expand({count, heads_, -1, -1}), in_column_.expand({count, heads_, -1, -1})},
        d + 2 * e);
    return projection_(merge_heads(attend(queries, keys, beside({v}, d), 1.0).narrow(3, 0, d)));
}

at::Tensor VitBlock::operator()(const at::Tensor& x) const {
    const int64_t images = x.size(0), side = x.size(1), hidden = x.size(3);
    const at::Tensor normed = norm_(x);
    const at::Tensor attended =
        window_ > 0 ? from_windows(attention(to_windows(normed, window_)), window_, side)
                    : attention(normed.reshape({images, side * side, hidden})).view(x.sizes());
    const at::Tensor sum = x + attended;
    return sum + mlp_(sum);
}

SamNeck::SamNeck(const Weights& w, int64_t in, int64_t out)
    : conv1_((w / "conv1").tensor("weight", {out, in, 1, 1}).view({out, in}), at::Tensor()),
      norm1_(w / "layer_norm1", out, 1e-6F),
      norm2_(w / "layer_norm2", out, 1e-6F),
      conv2_((w / "conv2").tensor("weight", {out, out, 3, 3})) {}

at::Tensor SamNeck::operator()(const at::Tensor& x) const {
    const at::Tensor inner = channels_first(norm1_(conv1_(x)));
    return norm2_(channels_last(convolution(inner, conv2_, {}, 1, 1)));
}

Vit::Vit(const Weights& w, const sam::VisionConfig& c)
    : config_(c),
      patches_((w / "patch_embed" / "projection")
                   .tensor("weight", {c.hidden, 3, c.patch, c.patch})
                   .view({c.hidden, 3 * c.patch * c.patch}),
               (w / "patch_embed" / "projection").tensor("bias", {c.hidden})),
      neck_(w / "neck", c.hidden, c.output) {
    if (c.absolute_positions)
        positions_ = w.tensor("pos_embed", {1, c.grid(), c.grid(), c.hidden}).squeeze(0);
    for (int64_t layer = 0; layer < c.layers; ++layer)
        blocks_.emplace_back(w / "layers" / layer, c, layer);
}

int64_t Vit::values_per_image() const {
    const sam::VisionConfig& c = config_;
    const int64_t positions = c.relative_positions ? 2 * c.grid() * c.heads : 0,
                  attention = 4 * c.hidden + 3 * (c.hidden + positions);
    return c.grid() * c.grid() * (3 * c.hidden + std::max(2 * c.mlp, attention));
}

at::Tensor Vit::operator()(const at::Tensor& images, const Tap* tap) const {
    const int64_t count = images.size(0), grid = config_.grid(), patch = config_.patch;
    at::Tensor x = patches_(images.view({count, 3, grid, patch, grid, patch})
                                .permute({0, 2, 4, 1, 3, 5})
                                .reshape({count, grid, grid, -1}));
    if (positions_.defined()) x = x + positions_;
    tell(tap, "patch_embed", x);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
        x = blocks_[i](x);
        tell(tap, "block_" + std::to_string(i), x);
    }
    x = neck_(x);
    tell(tap, "neck", x);
    return x.view({count, grid * grid, -1});
}

}  // namespace segrid::plain
