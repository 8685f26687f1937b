// Keys and values in the layouts that the products read.
#include <ATen/Functions.h>

#include <algorithm>

#include "core/fresh_tensor.h"
#include "kernels/attention/op.h"
#include "kernels/rows/op.h"

namespace segrid {
namespace {

int64_t panels_of(int64_t tokens) { return (tokens + kPanel - 1) / kPanel; }

// Packs at most kPanel keys as one panel.
void pack_panel(int64_t tokens, int64_t dim, Rows<const float> k, float* panel) {
    transpose(tokens, dim, k.data, k.stride, panel, kPanel);
}
void pack_panel(int64_t tokens, int64_t dim, Rows<const float> k, uint16_t* panel, Arena& arena) {
    const Arena::Lifetime scope(arena);
    float* columns = arena.take<float>(dim * kPanel);
    pack_panel(tokens, dim, k, columns);
    for (int64_t d = 0; d < dim; d += 2) {
        pair_bf16(kPanel, columns + d * kPanel, d + 1 < dim ? columns + (d + 1) * kPanel : nullptr,
                  panel + d * kPanel);
    }
}

// Packs values from an even token on.
void pack_rows(int64_t tokens, int64_t dim, Rows<const float> v, float* out) {
    for (int64_t t = 0; t < tokens; ++t) std::copy_n(v[t], dim, out + t * dim);
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
    const int64_t panels = panels_of(tokens), depth = even(dim);
    const Rows<const float> keys{k, ld}, values{v, ld};
    const auto in_panel = [&](int64_t p) { return std::min(kPanel, tokens - p * kPanel); };
    if (precision == Precision::Fp32) {
        for (int64_t p = 0; p < panels; ++p)
            pack_panel(in_panel(p), dim, keys.from_row(p * kPanel), memory + p * kPanel * dim);
        float* rows = memory + panels * kPanel * dim;
        pack_rows(tokens, dim, values, rows);
        return {.keys = {memory, nullptr, kPanel}, .values = {rows, nullptr, dim}};
    }
    auto* packed = reinterpret_cast<uint16_t*>(memory);
    for (int64_t p = 0; p < panels; ++p) {
        pack_panel(in_panel(p), dim, keys.from_row(p * kPanel), packed + p * kPanel * depth, arena);
    }
    uint16_t* rows = packed + panels * kPanel * depth;
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
    if (precision_ == Precision::Fp32) return {data_.const_data_ptr<float>() + at, nullptr, kPanel};
    return {nullptr, bits_of(data_) + at, kPanel};
}

PackedValues::PackedValues(Precision precision, int64_t tokens, int64_t width)
    : precision_(precision),
      width_(width),
      data_(fresh_tensor({even(tokens), width}, type_of(precision))) {}

void PackedValues::pack(int64_t first, int64_t tokens, Rows<const float> v) {
    if (precision_ == Precision::Fp32)
        pack_rows(tokens, width_, v, data_.mutable_data_ptr<float>() + first * width_);
    else pack_rows(tokens, width_, v, bits_of(data_) + first * width_);
}

Factor PackedValues::from_column(int64_t column) const {
    const Factor all = precision_ == Precision::Fp32
                           ? Factor{data_.const_data_ptr<float>(), nullptr, width_}
                           : Factor{nullptr, bits_of(data_), width_};
    return all.from_column(column);
}

}  // namespace segrid
