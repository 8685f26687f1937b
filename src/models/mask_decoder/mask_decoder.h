// SAM's mask decoder around the two-way transformer: output tokens in front of the prompt's, IoU before pixels, then upscaling and the
// hypernetworks' products for the masks that are wanted.
#pragma once

#include "kernels/upscale/op.h"
#include "models/mask_decoder/two_way_transformer.h"
#include "models/segmentation.h"

namespace segrid::mask_decoder {

struct DecoderShape {
    Shape transformer;
    int64_t masks = 4;  // one single mask, then the multimask ones
    int64_t iou_depth = 3, iou_hidden = 256;
};

class MaskDecoder {
public:
    MaskDecoder(const Scope& scope, const DecoderShape& shape);

    // prompt: [count, dim] tokens of the prompt. grid: image tokens' layout. Logits lie in `arena` until the caller's scope ends.
    std::vector<DecodedMask> operator()(const ImageTokens& image, Size grid, const float* prompt, int64_t count,
                                        const DecodeRequest& request, const Schedule& schedule, Arena& arena) const;

    const TwoWayTransformer& transformer() const { return transformer_; }

private:
    DecoderShape shape_;
    at::Tensor output_tokens_;  // [1 + masks, dim]: IoU token, mask tokens
    TwoWayTransformer transformer_;
    UpscaleWeights upscale_;
    std::vector<FeedForward> hypernetworks_;
    FeedForward iou_head_;
};

}  // namespace segrid::mask_decoder
