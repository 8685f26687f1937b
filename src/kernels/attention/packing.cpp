// Keys and values in the layouts that the products read.
#include <ATen/Functions.h>

#include <algorithm>
#include <vector>

#include "core/fresh_tensor.h"
#include "kernels/attention/op.h"
#include "kernels/rows/op.h"

namespace segrid {
namespace {

int64_t panels_of(int64_t tokens) { return (tokens + kPanel - 1) / kPanel; }

// The columns of a panel that lie together.
int64_t panel_columns() { return strip_width() > 0 ? strip_width() : kPanel; }
// Panels of `dim` rows in fp32, as pack_panel writes them.
Factor panels(const float* data, int64_t dim) {
    const int64_t columns = panel_columns();
    return {data, nullptr, columns, columns < kPanel ? dim * columns : 0};
}

// Packs at most kPanel keys as one panel.
void pack_panel(int64_t tokens, int64_t dim, Rows<const float> k, float* panel) {
    const int64_t columns = panel_columns();
    for (int64_t t = 0; t < tokens; t += columns) {
        transpose(std::min(columns, tokens - t), dim, k[t], k.stride, panel + t * dim, columns);
    }
}
void pack_panel(int64_t tokens, int64_t dim, Rows<const float> k, uint16_t* panel, Arena& arena) {
    const Arena::Lifetime scope(arena);
    float* columns = arena.take<float>(dim * kPanel);
    transpose(tokens, dim, k.data, k.stride, columns, kPanel);
    for (int64_t d = 0; d < dim; d += 2) {
        pair_bf16(kPanel, columns + d * kPanel, d + 1 < dim ? columns + (d + 1) * kPanel : nullptr,
                  panel + d * kPanel);
    }
}

// The columns of values that lie together: of a strip, if parts of so many columns are whole
// strips; 0 if rows are whole.
int64_t value_strip(int64_t part) {
    const int64_t strip = strip_width();
    return strip > 0 && part % strip == 0 ? strip : 0;
}
// Packs values in fp32 from a token on, whose place in the factor is `out`.
void pack_rows(int64_t tokens, int64_t dim, Rows<const float> v, const Factor& out) {
    const int64_t columns = out.strip > 0 ? out.ld : dim;
    for (int64_t n0 = 0; n0 < dim; n0 += columns) {
        float* to = const_cast<float*>(out.from_column(n0).fp32);
        for (int64_t t = 0; t < tokens; ++t) std::copy_n(v[t] + n0, columns, to + t * out.ld);
    }
}
void pack_rows(int64_t tokens, int64_t dim, Rows<const float> v, uint16_t* out) {
    for (int64_t t = 0; t < tokens; t += 2)
        pair_bf16(dim, v[t], t + 1 < tokens ? v[t + 1] : nullptr, out + t * dim);
}

at::ScalarType type_of(Precision precision) {
    return precision == Precision::Fp32 ? at::kFloat : at::kBFloat16;
}
uint16_t* bits_of(const at::Tensor& bf16) {
    return reinterpret_cast<uint16_t*>(bf16.data_ptr<at::BFloat16>());
}

}  // namespace

PackedHead pack_head(Precision precision, int64_t tokens, int64_t dim, const float* k,
                     const float* v, int64_t ld, float* memory, Arena& arena) {
    const int64_t count = panels_of(tokens), depth = even(dim);
    const Rows<const float> keys{k, ld}, values{v, ld};
    const auto in_panel = [&](int64_t p) { return std::min(kPanel, tokens - p * kPanel); };
    if (precision == Precision::Fp32) {
        for (int64_t p = 0; p < count; ++p)
            pack_panel(in_panel(p), dim, keys.from_row(p * kPanel), memory + p * kPanel * dim);
        const int64_t strip = value_strip(dim);
        const Factor rows{memory + count * kPanel * dim, nullptr, strip > 0 ? strip : dim,
                          strip * tokens};
        pack_rows(tokens, dim, values, rows);
        return {.keys = panels(memory, dim), .values = rows};
    }
    auto* packed = reinterpret_cast<uint16_t*>(memory);
    for (int64_t p = 0; p < count; ++p) {
        pack_panel(in_panel(p), dim, keys.from_row(p * kPanel), packed + p * kPanel * depth, arena);
    }
    uint16_t* rows = packed + count * kPanel * depth;
    pack_rows(tokens, dim, values, rows);
    return {.keys = {nullptr, packed, kPanel}, .values = {nullptr, rows, dim}};
}

PackedKeys::PackedKeys(Precision precision, int64_t tokens, int64_t heads, int64_t head_dim)
    : precision_(precision), heads_(heads), dim_(head_dim), panels_(panels_of(tokens)) {
    const int64_t depth = precision == Precision::Fp32 ? dim_ : even(dim_);
    data_ = fresh_tensor({heads, panels_, depth, kPanel}, type_of(precision));
}

void PackedKeys::pack(int64_t first, int64_t tokens, Rows<const float> k, Arena& arena) {
    for (int64_t t = 0; t < tokens; t += kPanel) {
        const int64_t count = std::min(kPanel, tokens - t);
        for (int64_t h = 0; h < heads_; ++h) {
            const Rows<const float> own = k.from_row(t).from_column(h * dim_);
            const int64_t at = h * data_.stride(0) + (first + t) / kPanel * data_.stride(1);
            if (precision_ == Precision::Fp32)
                pack_panel(count, dim_, own, data_.mutable_data_ptr<float>() + at);
            else pack_panel(count, dim_, own, bits_of(data_) + at, arena);
        }
    }
}

Factor PackedKeys::of_head(int64_t head) const {
    const int64_t at = head * data_.stride(0);
    if (precision_ == Precision::Fp32) return panels(data_.const_data_ptr<float>() + at, dim_);
    return {nullptr, bits_of(data_) + at, kPanel};
}

PackedValues::PackedValues(Precision precision, int64_t tokens, int64_t width, int64_t part)
    : precision_(precision),
      width_(width),
      strip_(precision == Precision::Fp32 ? value_strip(part) : 0),
      data_(fresh_tensor({even(tokens), width}, type_of(precision))) {}

void PackedValues::pack(int64_t first, int64_t tokens, Rows<const float> v) {
    if (precision_ == Precision::Fp32) return pack_rows(tokens, width_, v, all().from_row(first));
    uint16_t* out = bits_of(data_) + first * width_;
    if (first % 2 == 0) return pack_rows(tokens, width_, v, out);
    // The first token is the second of a pair that another call has begun.
    std::vector<uint16_t> pair(static_cast<std::size_t>(2 * width_));
    pair_bf16(width_, v[0], nullptr, pair.data());
    uint16_t* begun = out - width_;
    for (int64_t c = 0; c < width_; ++c) begun[2 * c + 1] = pair[static_cast<std::size_t>(2 * c)];
    pack_rows(tokens - 1, width_, v.from_row(1), out + width_);
}

Factor PackedValues::all() const {
    if (precision_ != Precision::Fp32) return {nullptr, bits_of(data_), width_};
    return {data_.const_data_ptr<float>(), nullptr, strip_ > 0 ? strip_ : width_,
            strip_ * data_.size(0)};
}

Factor PackedValues::from_column(int64_t column) const { return all().from_column(column); }

}  // namespace segrid
