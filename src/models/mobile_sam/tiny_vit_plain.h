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
    at::Tensor operator()(const at::Tensor& x) const;  // [images, side, side, channels]

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
    // images: [images, 3, side, side], normalised. Returns [images, grid^2, output].
    at::Tensor operator()(const at::Tensor& images, const Tap* tap) const;
    // About how many values each image needs at once.
    int64_t values_per_image() const { return values_; }

private:
    NormedConvolution first_, second_;
    std::vector<Bottleneck> convolutions_, merges_;
    std::vector<std::vector<TinyVitBlock>> stages_;
    SamNeck neck_;
    int64_t values_;
};

}  // namespace segrid::plain
