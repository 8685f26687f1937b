#include "models/sam2/memory_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/fresh_tensor.h"
#include "core/trace.h"
#include "models/sam2/memory_attention_plain.h"

namespace segrid::sam2 {
namespace {

constexpr float kEps = 1e-5F;  // torch's default

// The outputs of a projection, in which each head's channels alternate in pairs, in the order of
// halves.
at::Tensor by_halves(const at::Tensor& x, int64_t heads) {
    return x.unflatten(0, {heads, -1, 2}).transpose(1, 2).flatten(0, 2).contiguous();
}
LinearWeight by_halves(const LinearWeight& w, int64_t heads) {
    return {by_halves(w.values, heads),
            w.scales.defined() ? by_halves(w.scales, heads) : at::Tensor()};
}

Linear turned(const WeightScope& s, int64_t in, int64_t out, int64_t heads) {
    return {by_halves(LinearWeight(s, in, out), heads), by_halves(s.tensor("bias", {out}), heads),
            s};
}

// Queries, keys and values of a self-attention as one Linear.
Linear turned_qkv(const WeightScope& s, int64_t dim, int64_t inner, int64_t heads) {
    const auto weight = [&](const char* name) { return LinearWeight(s / name, dim, inner); };
    const auto bias = [&](const char* name) { return (s / name).tensor("bias", {inner}); };
    const LinearWeight q = by_halves(weight("q_proj"), heads),
                       k = by_halves(weight("k_proj"), heads), v = weight("v_proj");
    const bool quantised = q.scales.defined();
    if (k.scales.defined() != quantised || v.scales.defined() != quantised) {
        fail(ErrorKind::Corrupt, s.store().path() + ": " + s.prefix() +
                                     " is kept in int8 in part; all of q_proj, k_proj and v_proj " +
                                     "must be");
    }
    return {{at::cat({q.values, k.values, v.values}),
             quantised ? at::cat({q.scales, k.scales, v.scales}) : at::Tensor()},
            at::cat({by_halves(bias("q_proj"), heads), by_halves(bias("k_proj"), heads),
                     bias("v_proj")}),
            s};
}

// Wv and Wo as one matrix from the memory's channels, per head, to dim. The softmax adds up to 1,
// so that the bias of the values passes through it.
Linear folded(const WeightScope& s, int64_t memory, int64_t inner, int64_t dim, int64_t heads) {
    const at::Tensor v = (s / "v_proj").tensor("weight", {inner, memory}).to(at::kDouble),
                     v_bias = (s / "v_proj").tensor("bias", {inner}).to(at::kDouble),
                     o = (s / "o_proj").tensor("weight", {dim, inner}).to(at::kDouble),
                     o_bias = (s / "o_proj").tensor("bias", {dim}).to(at::kDouble);
    std::vector<at::Tensor> of_heads;
    for (int64_t h = 0, size = inner / heads; h < heads; ++h)
        of_heads.push_back(o.narrow(1, h * size, size).matmul(v.narrow(0, h * size, size)));
    return {at::cat(of_heads, 1).to(at::kFloat).contiguous(),
            (o.matmul(v_bias) + o_bias).to(at::kFloat), s.precision()};
}

}  // namespace

Rotation::Rotation(int64_t grid, int64_t head_dim, double theta, int64_t pooling) : dim_(head_dim) {
    const at::Tensor angles = plain::rotary_angles(grid, head_dim, theta, pooling);
    cos_ = angles.cos();
    sin_ = angles.sin();
}

void Rotation::operator()(int64_t place, int64_t heads, float* x) const {
    const int64_t pairs = dim_ / 2;
    for (int64_t h = 0; h < heads; ++h) {
        turn_row(pairs, cos_.const_data_ptr<float>() + place * pairs,
                 sin_.const_data_ptr<float>() + place * pairs, x + h * dim_);
    }
}

MemoryAttentionLayer::MemoryAttentionLayer(const WeightScope& s, const MemoryConfig& c)
    : tokens_(c.grid * c.grid),
      dim_(c.dim),
      inner_(c.dim / c.attention.downsample),
      heads_(c.attention.heads),
      channels_(c.encoder.channels),
      precision_(s.precision()),
      norm1_(s / "layer_norm1", dim_, kEps),
      norm2_(s / "layer_norm2", dim_, kEps) {
    const WeightScope linears = s.encoder_linears(), own = linears / "self_attn",
                      memory = linears / "cross_attn_image";
    qkv_ = turned_qkv(own, dim_, inner_, heads_);
    out_ = Linear(own / "o_proj", inner_, dim_);
    q_ = turned(memory / "q_proj", dim_, inner_, heads_);
    k_ = turned(memory / "k_proj", channels_, inner_, heads_);
    folded_ = folded(s / "cross_attn_image", channels_, inner_, dim_, heads_);
    if (precision_ == Precision::Fp32) {
        const WeightScope k = s / "cross_attn_image" / "k_proj";
        places_ = {by_halves(k.tensor("weight", {inner_, channels_}), heads_),
                   by_halves(k.tensor("bias", {inner_}), heads_),
                   heads_,
                   c.memory_grid,
                   c.attention.theta,
                   c.pooling};
    }
    mlp_ = ResidualMlp(s / "layer_norm3", linears / "linear1", linears / "linear2", dim_,
                       c.attention.mlp, kEps, Activation::Relu);
}

GridAttention MemoryAttentionLayer::attention(int64_t keys, int64_t value_dim) const {
    const int64_t head_dim = inner_ / heads_;
    return {.grid_h = keys,
            .grid_w = 1,
            .head_dim = head_dim,
            .value_dim = value_dim,
            .scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
            .positions = nullptr,
            .bias = nullptr,
            .key_bias = nullptr,
            .head = {}};
}

void MemoryAttentionLayer::project(const Rotation& turn, const float* x, float* q, PackedKeys& keys,
                                   PackedValues& values, const Schedule& schedule) const {
    over_rows(
        tokens_, schedule,
        [&](int64_t first, int64_t rows, Arena& arena) {
            const Span span("memory qkv");
            float* normed = arena.take<float>(rows * dim_);
            float* qkv = arena.take<float>(rows * 3 * inner_);
            norm1_(rows, x + first * dim_, normed);
            qkv_(rows, normed, dim_, qkv, 3 * inner_);
            for (int64_t r = 0; r < rows; ++r) {
                float* row = qkv + r * 3 * inner_;
                turn(first + r, heads_, row);
                turn(first + r, heads_, row + inner_);
                std::copy_n(row, inner_, q + (first + r) * inner_);
            }
            keys.pack(first, rows, {qkv + inner_, 3 * inner_}, arena);
            values.pack(first, rows, {qkv + 2 * inner_, 3 * inner_});
        },
        row_tile(precision_, tokens_));
}

void MemoryAttentionLayer::look(const Rotation& turn, float* x, const Schedule& schedule) const {
    const int64_t head_dim = inner_ / heads_;
    PackedKeys keys(precision_, tokens_, heads_, head_dim);
    PackedValues values(precision_, tokens_, inner_, inner_ / heads_);
    const at::Tensor queries = fresh_tensor({tokens_, inner_});
    float* q = queries.mutable_data_ptr<float>();
    project(turn, x, q, keys, values, schedule);
    over_rows(
        tokens_, schedule,
        [&](int64_t first, int64_t rows, Arena& arena) {
            const Span span("memory self-attention");
            float* attended = arena.take<float>(rows * inner_);
            GridAttention call = attention(tokens_, head_dim);
            for (int64_t h = 0; h < heads_; ++h) {
                const int64_t column = h * head_dim;
                call.head = {keys.of_head(h), values.from_column(column)};
                grid_attention(call, first, rows, q + first * inner_ + column, inner_,
                               attended + column, inner_, arena);
            }
            out_.add_to(rows, attended, inner_, x + first * dim_, dim_);
        },
        row_tile(precision_, tokens_));
}

PackedKeys MemoryAttentionLayer::keys_of(const Rotation& turn, const MemoryTokens& memory,
                                         const Schedule& schedule) const {
    PackedKeys keys(precision_, memory.tokens, heads_, inner_ / heads_);
    const float* rows_in = memory.keys.const_data_ptr<float>();
    over_rows(
        memory.tokens, schedule,
        [&](int64_t first, int64_t rows, Arena& arena) {
            const Span span("memory keys");
            float* k = arena.take<float>(rows * inner_);
            k_(rows, rows_in + first * channels_, channels_, k, inner_);
            for (int64_t r = 0; r < rows; ++r) {
                if (first + r < memory.tokens - memory.pointers)
                    turn((first + r) % turn.places(), heads_, k + r * inner_);
            }
            keys.pack(first, rows, {k, inner_}, arena);
        },
        row_tile(precision_, memory.tokens));
    return keys;
}

void MemoryAttentionLayer::read(const MemoryTokens& memory, const PackedKeys* keys, int64_t rows,
                                const float* q, float* out, Arena& arena) const {
    if (keys == nullptr) return places_(memory, rows, q, out, arena);
    const int64_t head_dim = inner_ / heads_;
    GridAttention call = attention(memory.tokens, channels_);
    if (memory.biases.defined()) call.key_bias = memory.biases.const_data_ptr<float>();
    for (int64_t h = 0; h < heads_; ++h) {
        call.head = {keys->of_head(h), memory.values.from_column(0)};
        grid_attention(call, 0, rows, q + h * head_dim, inner_, out + h * channels_,
                       heads_ * channels_, arena);
    }
}

void MemoryAttentionLayer::remember(const Rotations& turn, const MemoryTokens& memory, float* x,
                                    const Schedule& schedule) const {
    std::optional<PackedKeys> keys;
    if (!memory.by_place) keys = keys_of(turn.memory, memory, schedule);
    const int64_t width = heads_ * channels_;
    over_rows(
        tokens_, schedule,
        [&](int64_t first, int64_t rows, Arena& arena) {
            float *own = x + first * dim_, *normed = arena.take<float>(rows * dim_),
                  *q = arena.take<float>(rows * inner_), *means = arena.take<float>(rows * width);
            {
                const Span span("memory cross-attention");
                norm2_(rows, own, normed);
                q_(rows, normed, dim_, q, inner_);
                for (int64_t r = 0; r < rows; ++r) turn.image(first + r, heads_, q + r * inner_);
                read(memory, keys ? &*keys : nullptr, rows, q, means, arena);
                folded_.add_to(rows, means, width, own, dim_);
            }
            const Span span("memory mlp");
            mlp_(rows, own, arena);
        },
        row_tile(precision_, tokens_));
}

MemoryAttention::MemoryAttention(const WeightScope& s, const MemoryConfig& c)
    : memory_grid_(c.memory_grid),
      dim_(c.dim),
      precision_(s.precision()),
      image_positions_((0.1 * plain::sine_positions(c.grid, c.dim)).contiguous()),
      turn_{{c.grid, c.head_dim(), c.attention.theta},
            {c.memory_grid, c.head_dim(), c.attention.theta, c.pooling}},
      norm_(s / "layer_norm", c.dim, kEps) {
    for (int64_t i = 0; i < c.attention.layers; ++i) layers_.emplace_back(s / "layers" / i, c);
}

TokenOrder MemoryAttention::order(int64_t frames) const {
    return {.by_place = precision_ == Precision::Fp32 && PlaceAttention::pays(memory_grid_, frames),
            .precision = precision_};
}

at::Tensor MemoryAttention::look(const at::Tensor& image, const Schedule& schedule) const {
    at::Tensor x = fresh_tensor({image.size(0), dim_});
    float* to = x.mutable_data_ptr<float>();
    over_rows(image.size(0), schedule, [&](int64_t first, int64_t rows, Arena&) {
        add(rows * dim_, image.const_data_ptr<float>() + first * dim_,
            image_positions_.const_data_ptr<float>() + first * dim_, to + first * dim_);
    });
    layers_.front().look(turn_.image, to, schedule);
    return x;
}

at::Tensor MemoryAttention::operator()(const at::Tensor& looked, const MemoryTokens& memory,
                                       const Schedule& schedule) const {
    at::Tensor x;
    run_in_worker(schedule, [&] { x = looked.clone(); });
    float* to = x.mutable_data_ptr<float>();
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        if (i > 0) layers_[i].look(turn_.image, to, schedule);
        layers_[i].remember(turn_, memory, to, schedule);
    }
    over_rows(x.size(0), schedule, [&](int64_t first, int64_t rows, Arena&) {
        norm_(rows, to + first * dim_, to + first * dim_);
    });
    return x;
}

}  // namespace segrid::sam2
