// SAM 2's memory attention on the CPU's kernels. memory_attention_plain.h has the figure; here:
//   - Values are the memory itself: with P the softmax, (P M) Wv Wo needs P M only in the memory's
//     64 channels, and Wv Wo is one matrix for each head.
//   - Queries and keys keep the channels of a head in another order, first the even ones, then the
//     odd ones, so that pairs turn without shuffles. Their products are the same.
//   - No row of scores is ever whole: tiles of queries meet blocks of keys (kernels/attention).
//   - In fp32, with enough frames, keys are neither projected nor turned: queries are, for every
//     row and column of the grid (place_attention.h).
#pragma once

#include <vector>

#include "models/sam2/place_attention.h"
#include "nn/transformer.h"

namespace segrid::sam2 {

// Turns rows of heads by the rotary positions of their places.
class Rotation {
public:
    // pooling: of the tokens (see plain::rotary_angles).
    Rotation(int64_t grid, int64_t head_dim, double theta, int64_t pooling = 1);
    // x: heads side by side, in the order of halves.
    void operator()(int64_t place, int64_t heads, float* x) const;
    int64_t places() const { return cos_.size(0); }

private:
    int64_t dim_;
    at::Tensor cos_, sin_;  // [grid^2, head_dim / 2]
};

// How the image's tokens turn, and how the memory's do.
struct Rotations {
    Rotation image, memory;
};

class MemoryAttentionLayer {
public:
    MemoryAttentionLayer(const WeightScope& scope, const MemoryConfig& config);
    // x[tokens, dim] += self attention(norm(x))
    void look(const Rotation& turn, float* x, const Schedule& schedule) const;
    // The rest of the layer: x += attention(norm(x), memory); x += mlp(norm(x)).
    void remember(const Rotations& turn, const MemoryTokens& memory, float* x,
                  const Schedule& schedule) const;

private:
    // Attention of turned queries to the memory. keys: projected ones, or null for a memory that is
    // in the order of places.
    void read(const MemoryTokens& memory, const PackedKeys* keys, int64_t rows, const float* q,
              float* out, Arena& arena) const;
    void project(const Rotation& turn, const float* x, float* q, PackedKeys& keys,
                 PackedValues& values, const Schedule& schedule) const;
    PackedKeys keys_of(const Rotation& turn, const MemoryTokens& memory,
                       const Schedule& schedule) const;
    GridAttention attention(int64_t keys, int64_t value_dim) const;

    int64_t tokens_, dim_, inner_, heads_, channels_;
    Precision precision_;  // of the attention itself
    LayerNorm norm1_, norm2_;
    Linear qkv_, out_;       // of the self-attention
    Linear q_, k_, folded_;  // folded_: from heads x memory channels, Wv Wo
    PlaceAttention places_;  // only in fp32
    ResidualMlp mlp_;
};

class MemoryAttention {
public:
    MemoryAttention(const WeightScope& scope, const MemoryConfig& config);
    // What does not depend on the memory: up to the first layer's self-attention. image: [tokens,
    // dim]. Returns [tokens, dim].
    at::Tensor look(const at::Tensor& image, const Schedule& schedule) const;
    // How a memory of so many frames has to lie.
    TokenOrder order(int64_t frames) const;
    // The rest. looked: of look(). Returns [tokens, dim].
    at::Tensor operator()(const at::Tensor& looked, const MemoryTokens& memory,
                          const Schedule& schedule) const;

private:
    int64_t memory_grid_, dim_;
    Precision precision_;         // of the attention itself
    at::Tensor image_positions_;  // [tokens, dim], times 0.1
    Rotations turn_;
    std::vector<MemoryAttentionLayer> layers_;
    LayerNorm norm_;
};

}  // namespace segrid::sam2
