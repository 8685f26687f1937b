// The prompt encoder of the SAM families: it makes tokens of points and boxes, and of a mask hint
// an embedding for each image token.
#pragma once

#include "models/segmentation.h"
#include "nn/layers.h"

namespace segrid::mask_decoder {

// Random Fourier features of a point p in [0, 1]^2: sin and cos of 2 pi G (2 p - 1).
class PositionEncoding {
public:
    explicit PositionEncoding(const at::Tensor& gaussian);  // [2, dim / 2]
    void operator()(float x, float y, float* out) const;    // out: dim floats
    // The features of all pixel centres of a grid, row-major: [height * width, dim].
    at::Tensor grid(int64_t height, int64_t width) const;
    int64_t dim() const { return 2 * gaussian_.size(1); }

private:
    at::Tensor gaussian_;
};

struct PromptShape {
    int64_t side = 1024;  // of the model's square, in pixels
    int64_t grid = 64;    // number of image tokens along it
    int64_t dim = 256, mask_channels = 16;
    float eps = 1e-6F;
    // Where a padding point is added. SAM 2 (true): after points and after boxes. SAM (false): only
    // after points without a box.
    bool padded_boxes = false;
};

// The matrix G of the Fourier features, [2, dim / 2]. Files hold it once, or twice under tied
// names; if these differ, it is refused (see WeightStore::refuse).
at::Tensor positional_gaussian(const WeightScope& root, int64_t dim);

class PromptEncoder {
public:
    PromptEncoder(const WeightScope& scope, const PromptShape& shape, const at::Tensor& gaussian);

    // Tokens [count, dim] of points, box corners and padding. Without points and box: [0, dim].
    at::Tensor tokens(const ModelPrompt& prompt) const;
    // The vector [dim] that is added to every image token if a prompt has no mask hint.
    const at::Tensor& no_mask() const { return no_mask_; }
    // The rows [grid area, dim] that are added to the image tokens for a hint of low_res() logits.
    at::Tensor mask(const float* hint) const;

private:
    PromptShape shape_;
    PositionEncoding position_;
    std::vector<at::Tensor> point_;  // background, foreground, box corners
    at::Tensor not_a_point_, no_mask_;
    at::Tensor conv1_, bias1_, gamma1_, beta1_, conv2_, bias2_, gamma2_, beta2_, conv3_, bias3_;
};

}  // namespace segrid::mask_decoder
