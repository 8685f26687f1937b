// SAM's mask decoder. Output tokens are put before the prompt's tokens and pass the two-way
// transformer. The IoU is predicted before pixels are computed; then the image tokens are upscaled
// and multiplied by the hypernetworks' outputs, for the wanted masks only.
#pragma once

#include "kernels/upscale/op.h"
#include "models/mask_decoder/two_way_transformer.h"
#include "models/segmentation.h"

namespace segrid::mask_decoder {

struct DecoderShape {
    Shape transformer;
    int64_t masks = 4;  // the single mask, then the multimask ones
    int64_t iou_depth = 3, iou_hidden = 256;
    // The members below are SAM 2's.
    bool object_score = false;  // one more output token, before the others
    bool sigmoid_iou = false;
    // If the stability of the single mask at +-dynamic_delta is below dynamic_threshold, the best
    // of the other masks replaces it. Threshold 0: never.
    float dynamic_delta = 0.05F, dynamic_threshold = 0;
};

class MaskDecoder {
public:
    // position: of the image tokens, [grid area, dim].
    MaskDecoder(const WeightScope& scope, const DecoderShape& shape, const at::Tensor& position);

    // keys: [grid area, dim].
    SharedImage share(const at::Tensor& keys, const Schedule& schedule) const;
    // prompt: [count, dim], the prompt's tokens. grid: the layout of the image tokens. high_res:
    // null if the family has none. The logits lie in `arena` until the caller's scope ends.
    std::vector<DecodedMask> operator()(const ImageTokens& image, Size grid,
                                        const UpscaleFeatures* high_res, const float* prompt,
                                        int64_t count, const DecodeRequest& request,
                                        const Schedule& schedule, Arena& arena) const;

private:
    int64_t iou_token() const { return shape_.object_score ? 1 : 0; }
    int64_t mask_token(int64_t m) const { return iou_token() + 1 + m; }
    // Computes the logits of the masks with these numbers (at most 16), one plane after the other.
    void upscale(const FinalKeys& final, Size grid, const UpscaleFeatures* high_res,
                 const float* tokens, const std::vector<int64_t>& masks, float* logits,
                 const Schedule& schedule, Arena& arena) const;

    DecoderShape shape_;
    at::Tensor output_tokens_;  // [outputs, dim]: object score token, IoU token, mask tokens
    TwoWayTransformer transformer_;
    UpscaleWeights upscale_;
    std::vector<FeedForward> hypernetworks_;
    FeedForward iou_head_, object_head_;
};

}  // namespace segrid::mask_decoder
