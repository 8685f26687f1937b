// RepViT (Wang et al. 2024, "RepViT: Revisiting mobile CNN from ViT perspective"), EdgeTAM's image
// encoder: convolutions only, in four stages, each with half the grid of the one before, then SAM
// 2's neck. The branches of a 3x3 convolution and all BatchNorms are folded into one convolution at
// load.
//   stem -> blocks -> three times (downsampling -> blocks) -> neck
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "models/convolution_stem.h"
#include "models/edgetam/config.h"
#include "models/sam2/hiera.h"
#include "models/segmentation.h"
#include "nn/folded_convolution.h"

namespace segrid::edgetam {

// Three branches that are added, as one depthwise 3x3 convolution: a 3x3, a 1x1, and the input.
FoldedConvolution token_mixer(const WeightScope& scope, int64_t channels, bool norm_per_branch);
// The channels in the middle of a Gate, which are a quarter, in multiples of 8.
inline int64_t squeezed(int64_t channels) {
    return std::max<int64_t>(8, (channels / 4 + 4) / 8 * 8);
}

// x += W2 gelu(W1 x): two 1x1 convolutions.
class PointwiseMlp {
public:
    PointwiseMlp(const WeightScope& scope, int64_t dim, int64_t hidden);
    void operator()(int64_t rows, float* x, Arena& arena) const;

private:
    int64_t dim_, hidden_;
    Linear in_, out_;
};

// Squeeze and excitation: a factor per channel, sigmoid(W2 relu(W1 mean)).
class Gate {
public:
    Gate(const WeightScope& scope, int64_t channels);
    void operator()(const float* mean, float* factors, Arena& arena) const;

private:
    int64_t channels_;
    Linear in_, out_;
};

// x = mixer(x); x *= gate(mean of x over the grid); x += mlp(x). Every other block has no gate.
class Block {
public:
    Block(const WeightScope& scope, const RepVitConfig& config, std::size_t stage, bool gated);
    // [side * side, dim] in and out.
    at::Tensor operator()(const at::Tensor& x, const Schedule& schedule) const;

private:
    // The gate's factors, [dim]. sums: of each grid row's tokens, [side, dim].
    at::Tensor factors(const at::Tensor& sums, const Schedule& schedule) const;

    int64_t side_, dim_;
    DepthwiseConvolution mixer_;
    std::optional<Gate> gate_;
    PointwiseMlp mlp_;
};

// Between stages: a block, a depthwise 3x3 convolution of stride 2, a 1x1 that widens, an MLP.
class Downsampling {
public:
    // stage: the one that follows.
    Downsampling(const WeightScope& scope, const RepVitConfig& config, std::size_t stage);
    at::Tensor operator()(const at::Tensor& x, const Schedule& schedule) const;

private:
    int64_t side_, in_, out_;  // side_: of the grid of inputs
    Block before_;
    DepthwiseConvolution spatial_;
    Linear widen_;
    PointwiseMlp mlp_;
};

class RepVit {
public:
    RepVit(const WeightScope& vision, const WeightScope& decoder, const EdgeTamConfig& config);
    // Returns the features of the neck. tap may be null.
    Features operator()(const ModelInput& input, const Schedule& schedule, const Tap* tap) const;

private:
    PreprocessSpec preprocess_;
    ConvolutionStem stem_;
    std::vector<Downsampling> downsamplings_;  // before stages 1 to 3
    std::vector<std::vector<Block>> stages_;
    sam2::Neck neck_;
};

}  // namespace segrid::edgetam
