// SAM's image encoder: a plain ViT with window attention and a few global layers, then a neck
// ("Segment Anything", section A).
//   patches -> + positions -> blocks -> neck
#pragma once

#include <vector>

#include "models/sam/config.h"
#include "models/segmentation.h"
#include "nn/transformer.h"

namespace segrid::sam {

// Non-overlapping patches to tokens, with one product per grid row.
class PatchEmbed {
public:
    PatchEmbed(const WeightScope& scope, const VisionConfig& config);
    // Writes the tokens of grid row y to out[grid, hidden]. Beyond the image's edges the normalised
    // input is zero.
    void operator()(int64_t y, const ModelInput& input, float* out, Arena& arena) const;

private:
    int64_t patch_, grid_, hidden_;
    Linear projection_;
    at::Tensor positions_;  // [grid * grid, hidden] or undefined
};

// One transformer block over all tokens, [grid * grid, hidden]:
//   x += attention(norm(x)); x += mlp(norm(x))
class Block {
public:
    Block(const WeightScope& scope, const VisionConfig& config, int64_t layer);
    void operator()(at::Tensor& tokens, TokenBuffers& buffers, const Schedule& schedule) const;

private:
    int64_t hidden_;
    LayerNorm norm_;
    Linear qkv_, projection_;
    GridSelfAttention attention_;
    ResidualMlp mlp_;
};

// 1x1 convolution, LayerNorm, 3x3 convolution, LayerNorm. Maps [grid * grid, hidden] to
// [grid * grid, output].
class Neck {
public:
    Neck(const WeightScope& scope, const VisionConfig& config);
    at::Tensor operator()(const at::Tensor& tokens, const Schedule& schedule) const;

private:
    int64_t grid_, hidden_, output_;
    Linear conv1_;
    LayerNorm norm1_, norm2_;
    std::vector<Linear> conv2_;  // the nine taps of the 3x3 kernel, row-major
};

class VisionEncoder {
public:
    VisionEncoder(const WeightScope& scope, const VisionConfig& config);
    // Returns features [grid * grid, output]. tap may be null.
    at::Tensor operator()(const ModelInput& input, const Schedule& schedule, const Tap* tap) const;

private:
    VisionConfig config_;
    PatchEmbed patches_;
    std::vector<Block> blocks_;
    Neck neck_;
};

}  // namespace segrid::sam
