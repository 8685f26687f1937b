// The plain definition of SAM's image encoder. The figure is in vision_encoder.h.
#pragma once

#include <vector>

#include "models/model_input.h"
#include "nn/plain.h"
#include "models/sam/config.h"

namespace segrid::plain {

// x += attention(norm(x)), in windows or over the whole grid; x += mlp(norm(x)).
class VitBlock {
public:
    VitBlock(const Weights& weights, const sam::VisionConfig& config, int64_t layer);
    at::Tensor operator()(const at::Tensor& x) const;  // [images, side, side, hidden]

private:
    at::Tensor attention(const at::Tensor& x) const;  // [windows, extent * extent, hidden]

    int64_t heads_, window_, extent_;  // extent_: side of the square within which tokens attend
    LayerNorm norm_;
    Linear qkv_, projection_;
    // [extent, extent, d]: the positions of a query's row (column) relative to a key's.
    at::Tensor rows_, columns_;
    // [1, 1, extent^2, extent]: 1 if a key lies in that row (column).
    at::Tensor in_row_, in_column_;
    NormedMlp mlp_;
};

// 1x1 convolution, LayerNorm, 3x3 convolution, LayerNorm. [images, side, side, channels] in and
// out.
class SamNeck {
public:
    SamNeck(const Weights& weights, int64_t in, int64_t out);
    at::Tensor operator()(const at::Tensor& x) const;

private:
    Linear conv1_;
    LayerNorm norm1_, norm2_;
    at::Tensor conv2_;
};

class Vit {
public:
    Vit(const Weights& weights, const sam::VisionConfig& config);
    // images: [images, 3, side, side], normalised. Returns [images, grid^2, output].
    at::Tensor operator()(const at::Tensor& images, const Tap* tap) const;
    // About how many values each image needs at once.
    int64_t values_per_image() const;

private:
    sam::VisionConfig config_;
    Linear patches_;
    at::Tensor positions_;
    std::vector<VitBlock> blocks_;
    SamNeck neck_;
};

}  // namespace segrid::plain
