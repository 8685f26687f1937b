// SAM's prompt encoder: points and boxes to tokens, a mask hint to one embedding per image token.
#pragma once

#include "models/sam/config.h"
#include "models/segmentation.h"
#include "nn/layers.h"

namespace segrid::sam {

// Random Fourier features of a place in [0, 1]^2: sin and cos of 2 pi G (2 p - 1).
class PositionEncoding {
public:
    explicit PositionEncoding(const at::Tensor& gaussian);  // [2, dim / 2]
    void operator()(float x, float y, float* out) const;    // dim floats
    at::Tensor grid(int64_t height, int64_t width) const;   // [height * width, dim], at pixel centres
    int64_t dim() const { return 2 * gaussian_.size(1); }

private:
    at::Tensor gaussian_;
};

class PromptEncoder {
public:
    PromptEncoder(const Scope& scope, const SamConfig& config, const at::Tensor& gaussian);

    // [count, dim]. Where there is no box, points are followed by one padding point (as in segment-anything). Without points and
    // box: [0, dim].
    at::Tensor tokens(const ModelPrompt& prompt) const;
    // What is added to every image token: no_mask of a prompt without hint ([dim])...
    const at::Tensor& no_mask() const { return no_mask_; }
    // ... or the embedding of a hint of low_res() logits: [grid area, dim].
    at::Tensor mask(const float* hint) const;

private:
    int64_t side_, low_res_, dim_;
    float eps_;
    PositionEncoding position_;
    std::vector<at::Tensor> point_;  // background, foreground, box corners
    at::Tensor not_a_point_, no_mask_;
    at::Tensor conv1_, bias1_, gamma1_, beta1_, conv2_, bias2_, gamma2_, beta2_, conv3_, bias3_;
};

}  // namespace segrid::sam
