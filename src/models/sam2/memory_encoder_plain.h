// SAM 2's memory encoder, plainly: a mask and the image's features become what is remembered.
//   mask -> strided convolutions -> + image -> ConvNeXt blocks -> fewer channels
#pragma once

#include <vector>

#include "models/sam2/memory_config.h"
#include "nn/plain.h"

namespace segrid::plain {

// A convolution of any size, [out, in / groups, k, k]. x: [1, channels, h, w].
class Convolution {
public:
    Convolution() = default;
    Convolution(const Weights& weights, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                int64_t groups = 1);
    at::Tensor operator()(const at::Tensor& x) const;

private:
    at::Tensor weight_, bias_;
    int64_t stride_ = 1, padding_ = 0, groups_ = 1;
};

// A convolution of stride 2, LayerNorm over the channels, GELU.
struct MaskDownsampling {
    Convolution convolution;
    LayerNorm norm;
    at::Tensor operator()(const at::Tensor& x) const;
};

// Returns x + scale * (W2 gelu(W1 norm(depthwise convolution(x))))  ("A ConvNet for the 2020s",
// 2022)
struct FuserBlock {
    FuserBlock(const Weights& weights, const sam2::MemoryConfig& config);
    at::Tensor operator()(const at::Tensor& x) const;

    Convolution depthwise;
    LayerNorm norm;
    Linear in, out;
    at::Tensor scale;  // [dim]
};

class MemoryEncoder {
public:
    MemoryEncoder(const Weights& weights, const sam2::MemoryConfig& config);
    // image: [tokens, dim]; mask: [side, side], scaled as the network takes it. Returns [tokens,
    // memory channels].
    at::Tensor operator()(const at::Tensor& image, const at::Tensor& mask) const;

private:
    std::vector<MaskDownsampling> masks_;
    Convolution last_mask_, image_, projection_;
    std::vector<FuserBlock> fuser_;
    int64_t grid_;
};

}  // namespace segrid::plain
