// The plain definition of MobileSAM's image encoder. The figure is in tiny_vit.h.
#pragma once

#include <vector>

#include "models/mobile_sam/tiny_vit.h"
#include "models/model_input.h"
#include "nn/plain.h"
#include "models/sam/vit_plain.h"

namespace segrid::plain {

// A 1x1, a depthwise 3x3 and a 1x1 convolution with GELU between them; see mobile_sam::Bottleneck.
struct Bottleneck {
    NormedConvolution first, middle, last;
    bool residual = false;
    at::Tensor operator()(const at::Tensor& x) const;
};

class TinyVitBlock {
public:
    TinyVitBlock(const Weights& weights, const mobile_sam::TinyVitConfig& config,
                 std::size_t stage);
    at::Tensor operator()(const at::Tensor& x) const;  // [side, side, channels]

private:
    int64_t heads_, window_;
    LayerNorm norm_;
    Linear qkv_, projection_;
    at::Tensor biases_;  // [1, heads, window^2, window^2]
    NormedConvolution local_;
    NormedMlp mlp_;
};

class TinyVit {
public:
    TinyVit(const Weights& weights, const mobile_sam::TinyVitConfig& config);
    at::Tensor operator()(const at::Tensor& image, const Tap* tap) const;  // [side^2, output]

private:
    NormedConvolution first_, second_;
    std::vector<Bottleneck> convolutions_, merges_;
    std::vector<std::vector<TinyVitBlock>> stages_;
    SamNeck neck_;
};

}  // namespace segrid::plain
