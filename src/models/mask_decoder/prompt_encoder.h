// The prompt encoder of the SAM families: points and boxes to tokens, a mask hint to one embedding
// per image token.
#pragma once

#include "models/segmentation.h"
#include "nn/layers.h"

namespace segrid::mask_decoder {

// Random Fourier features of a place in [0, 1]^2: sin and cos of 2 pi G (2 p - 1).
class PositionEncoding {
public:
    explicit PositionEncoding(const at::Tensor& gaussian);  // [2, dim / 2]
    void operator()(float x, float y, float* out) const;    // dim floats
    at::Tensor grid(int64_t height,
                    int64_t width) const;  // [height * width, dim], at pixel centres
    int64_t dim() const { return 2 * gaussian_.size(1); }

private:
    at::Tensor gaussian_;
};

struct PromptShape {
    int64_t side = 1024;  // of the model's square, pixels
    int64_t grid = 64;    // image tokens along it
    int64_t dim = 256, mask_channels = 16;
    float eps = 1e-6F;
    bool padded_boxes = false;  // SAM 2: a padding point behind every prompt's points and boxes;
                                // SAM: behind points without a box
};

// The matrix of the random features, which files keep once or twice under tied names.
at::Tensor positional_gaussian(const Scope& root, int64_t dim);

class PromptEncoder {
public:
    PromptEncoder(const Scope& scope, const PromptShape& shape, const at::Tensor& gaussian);

    // [count, dim]: points, box corners, padding. Without points and box: [0, dim].
    at::Tensor tokens(const ModelPrompt& prompt) const;
    // What is added to every image token: no_mask of a prompt without hint ([dim])...
    const at::Tensor& no_mask() const { return no_mask_; }
    // ... or the embedding of a hint of low_res() logits: [grid area, dim].
    at::Tensor mask(const float* hint) const;

private:
    PromptShape shape_;
    PositionEncoding position_;
    std::vector<at::Tensor> point_;  // background, foreground, box corners
    at::Tensor not_a_point_, no_mask_;
    at::Tensor conv1_, bias1_, gamma1_, beta1_, conv2_, bias2_, gamma2_, beta2_, conv3_, bias3_;
};

}  // namespace segrid::mask_decoder
