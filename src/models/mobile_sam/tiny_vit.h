// TinyViT (Wu et al. 2022, "TinyViT: fast pretraining distillation for small vision transformers")
// as MobileSAM uses it: the last stage keeps the grid of the one before, and SAM's neck follows.
// BatchNorms are folded into their convolutions at load.
//   two strided convolutions -> MBConv blocks -> three times (merge -> blocks) -> neck
#pragma once

#include <vector>

#include "models/convolution_stem.h"
#include "models/sam/vision_encoder.h"
#include "nn/convolution.h"
#include "nn/transformer.h"

namespace segrid::mobile_sam {

inline constexpr std::size_t kStages = 4;

// A 1x1, a depthwise 3x3 and a 1x1 convolution with GELU between them, over a square grid. With a
// residual and a last GELU it is an MBConv; without these it is the merge between stages.
struct BottleneckShape {
    int64_t side = 0;  // of the grid of inputs
    int64_t in = 0, hidden = 0, out = 0;
    int64_t stride = 1;
    bool residual = false;
};

// image: side in pixels. output: channels of the features. Each list has one number per stage.
struct TinyVitConfig {
    int64_t image = 1024, output = 256;
    std::vector<int64_t> dims{64, 128, 160, 320}, depths{2, 2, 6, 2}, heads{2, 4, 5, 10},
        windows{7, 7, 14, 7};
    double mlp_ratio = 4, expand = 4;
    // The side of a stage's grid of tokens.
    int64_t grid(std::size_t stage) const { return image / 4 >> std::min<std::size_t>(stage, 2); }
    BottleneckShape convolution() const;             // of the first stage
    BottleneckShape merge(std::size_t stage) const;  // before that stage, from 1 on
    // Throws Corrupt, naming the key, if a value is outside its plausible range or if two values
    // contradict each other.
    explicit TinyVitConfig(const Config& config);
};

// A 3x3 convolution of each channel, with its BatchNorm folded in.
DepthwiseConvolution depthwise(const WeightScope& scope, int64_t channels, int64_t stride);

class Bottleneck {
public:
    Bottleneck(const WeightScope& scope, const BottleneckShape& shape);
    at::Tensor operator()(const at::Tensor& x, const Schedule& schedule) const;

private:
    BottleneckShape shape_;
    Linear first_, last_;
    DepthwiseConvolution middle_;
};

// One block over tokens [side * side, dim]. Attention has windows, and a bias per pair of places.
//   x += attention(x); x = depthwise(x); x += mlp(norm(x))
class Block {
public:
    Block(const WeightScope& scope, const TinyVitConfig& config, std::size_t stage);
    at::Tensor operator()(at::Tensor x, TokenBuffers& buffers, const Schedule& schedule) const;

private:
    int64_t side_, dim_;
    LayerNorm norm_;
    Linear qkv_, projection_;
    GridSelfAttention attention_;
    DepthwiseConvolution local_;
    ResidualMlp mlp_;
};

class TinyVit {
public:
    TinyVit(const WeightScope& scope, const TinyVitConfig& config);
    // Returns features [grid * grid, output]. tap may be null.
    at::Tensor operator()(const ModelInput& input, const Schedule& schedule, const Tap* tap) const;

private:
    ConvolutionStem stem_;
    std::vector<Bottleneck> convolutions_, merges_;
    std::vector<std::vector<Block>> stages_;  // of stages 1 to 3
    sam::Neck neck_;
};

}  // namespace segrid::mobile_sam
