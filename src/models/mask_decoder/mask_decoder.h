// SAM's mask decoder around the two-way transformer: output tokens in front of the prompt's, IoU
// before pixels, then upscaling and the hypernetworks' products for the masks that are wanted.
#pragma once

#include "kernels/upscale/op.h"
#include "models/mask_decoder/two_way_transformer.h"
#include "models/segmentation.h"

namespace segrid::mask_decoder {

struct DecoderShape {
    Shape transformer;
    int64_t masks = 4;  // one single mask, then the multimask ones
    int64_t iou_depth = 3, iou_hidden = 256;
    // SAM 2's.
    bool object_score = false;  // one more output token, in front
    bool sigmoid_iou = false;
    // A single mask whose stability at +-delta is below the threshold gives way to the best of the
    // others. 0: never.
    float dynamic_delta = 0.05F, dynamic_threshold = 0;
};

class MaskDecoder {
public:
    MaskDecoder(const Scope& scope, const DecoderShape& shape);

    // prompt: [count, dim] tokens of the prompt. grid: image tokens' layout. Logits lie in `arena`
    // until the caller's scope ends. high_res: null where the family has none.
    std::vector<DecodedMask> operator()(const ImageTokens& image, Size grid,
                                        const UpscaleFeatures* high_res, const float* prompt,
                                        int64_t count, const DecodeRequest& request,
                                        const Schedule& schedule, Arena& arena) const;

    const TwoWayTransformer& transformer() const { return transformer_; }

private:
    int64_t iou_token() const { return shape_.object_score ? 1 : 0; }
    int64_t mask_token(int64_t m) const { return iou_token() + 1 + m; }
    // Logits of the masks whose tokens are given (at most 16), one plane after the other.
    void upscale(const float* keys, Size grid, const UpscaleFeatures* high_res, const float* tokens,
                 const std::vector<int64_t>& masks, float* logits, const Schedule& schedule,
                 Arena& arena) const;

    DecoderShape shape_;
    at::Tensor output_tokens_;  // [outputs, dim]: object score token, IoU token, mask tokens
    TwoWayTransformer transformer_;
    UpscaleWeights upscale_;
    std::vector<FeedForward> hypernetworks_;
    FeedForward iou_head_, object_head_;
};

}  // namespace segrid::mask_decoder
