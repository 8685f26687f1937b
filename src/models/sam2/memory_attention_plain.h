// SAM 2's memory attention, plainly ("SAM 2: Segment Anything in Images and Videos", section 4):
//   x = image tokens + 0.1 positions
//   per layer: x += self attention(norm(x)); x += attention(norm(x), memory); x += mlp(norm(x))
//   norm(x)
// with rotary positions on queries and keys. A frame's memory lies on a grid over the image, so its
// keys turn by their place there (SAM 2: as the image's do); keys of object pointers, and a frame's
// tokens without a place, do not turn.
#pragma once

#include <utility>
#include <vector>

#include "models/sam2/memory_config.h"
#include "nn/plain.h"

namespace segrid::plain {

// The turning of neighbouring channels, pair by pair (rotary_angles).
class RotaryPositions {
public:
    RotaryPositions(int64_t grid, int64_t head_dim, double theta, const Placement& placement,
                    int64_t unplaced = 0, int64_t pooling = 1);
    // x: [1, heads, tokens, head_dim]: frames of `unplaced` tokens and a whole grid each, one after
    // the other, and then the `last` tokens. Turns the grids.
    at::Tensor operator()(const at::Tensor& x, int64_t last = 0) const;

private:
    int64_t unplaced_;
    at::Tensor cos_, sin_;  // [grid^2, head_dim], in fp32
};

// The rotary positions of the image tokens, and those of the memory's tokens.
struct MemoryRotary {
    RotaryPositions image, memory;
    MemoryRotary(const sam2::MemoryConfig& config, const Placement& placement);
};

class MemoryAttentionLayer {
public:
    MemoryAttentionLayer(const Weights& weights, const sam2::MemoryConfig& config);
    // x + self attention(norm(x)). x: [1, tokens, dim].
    at::Tensor look(const at::Tensor& x, const MemoryRotary& rotary) const;
    // The rest of the layer. keys, values: [1, memory tokens, memory channels], of which the last
    // `pointers` are object pointers.
    // bias: added to the keys' scores; may be undefined.
    at::Tensor remember(at::Tensor x, const at::Tensor& keys, const at::Tensor& values,
                        int64_t pointers, const MemoryRotary& rotary, const at::Tensor& bias) const;

private:
    struct Projections {
        Projections() = default;
        Projections(const Weights& weights, int64_t dim, int64_t inner, int64_t memory);
        Linear q, k, v, out;
    };
    // q, k: queries and keys in heads, turned.
    at::Tensor attention(const Projections& p, const at::Tensor& q, const at::Tensor& k,
                         const at::Tensor& values, const at::Tensor& bias = {}) const;

    int64_t heads_;
    double scale_;
    Projections self_, memory_;
    LayerNorm norm1_, norm2_;
    NormedMlp mlp_;
};

class MemoryAttention {
public:
    MemoryAttention(const Weights& weights, const sam2::MemoryConfig& config);
    // What does not depend on the memory: up to the first layer's self-attention. image: [tokens,
    // dim]. Returns [1, tokens, dim].
    at::Tensor look(const at::Tensor& image) const;
    // The rest. memory and its positions: [memory tokens, memory channels]. Returns [tokens, dim].
    at::Tensor operator()(const at::Tensor& looked, const at::Tensor& memory,
                          const at::Tensor& positions, int64_t pointers) const;

private:
    float pointer_bias_;
    at::Tensor image_positions_;  // [tokens, dim], times 0.1
    MemoryRotary rotary_;
    std::vector<MemoryAttentionLayer> layers_;
    LayerNorm norm_;
};

// The angles by which a token's pairs of channels turn, half of them by its column and half by its
// row: [grid^2, head_dim / 2] in fp32 on the CPU. pooling: a token lies in the middle of a square
// of so many places along a side.
at::Tensor rotary_angles(int64_t grid, int64_t head_dim, double theta, int64_t pooling = 1);
// The periods of `count` waves, in pairs from 1 to 10000: [count] in fp32 on the CPU.
at::Tensor wave_periods(int64_t count);
// Sines and cosines of the places of a grid x grid square, rows in the first half of the channels
// and columns in the second: [grid^2, channels] in fp32 on the CPU.
at::Tensor sine_positions(int64_t grid, int64_t channels);

}  // namespace segrid::plain
