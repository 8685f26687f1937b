// SAM 2's memory encoder on the CPU's kernels (figure: memory_encoder_plain.h). Grids are rows of
// pixels, each with its channels side by side.
#pragma once

#include <vector>

#include "models/sam2/memory_config.h"
#include "nn/convolution.h"
#include "nn/transformer.h"

namespace segrid::sam2 {

// A convolution of stride 2, LayerNorm over the channels, GELU.
class MaskDownsampling {
public:
    MaskDownsampling(const WeightScope& scope, int64_t in, int64_t kernel);
    // x: [side^2, in]. Returns [side^2 / 4, 4 in].
    at::Tensor operator()(const at::Tensor& x, int64_t side, const Schedule& schedule) const;

private:
    StridedConvolution convolution_;
    LayerNorm norm_;
};

// x + scale * (W2 gelu(W1 norm(depthwise convolution(x)))); the scale is folded into W2.
class FuserBlock {
public:
    FuserBlock(const WeightScope& scope, const MemoryConfig& config);
    at::Tensor operator()(const at::Tensor& x, int64_t side, const Schedule& schedule) const;

private:
    int64_t dim_;
    DepthwiseConvolution depthwise_;
    ResidualMlp mlp_;
};

class MemoryEncoder {
public:
    MemoryEncoder(const WeightScope& scope, const MemoryConfig& config);
    // image: [tokens, dim]; mask: [side, side], scaled as the network takes it. Returns [tokens,
    // memory channels].
    at::Tensor operator()(const at::Tensor& image, const at::Tensor& mask,
                          const Schedule& schedule) const;

private:
    int64_t grid_, dim_;
    std::vector<MaskDownsampling> masks_;
    Linear last_mask_, image_, projection_;
    std::vector<FuserBlock> fuser_;
};

}  // namespace segrid::sam2
