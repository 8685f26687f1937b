// Prompt encoder and mask decoder over one image's tokens: the part of every SAM family that
// follows the image encoder.
#pragma once

#include <optional>

#include "models/mask_decoder/mask_decoder.h"
#include "models/mask_decoder/prompt_encoder.h"

namespace segrid::mask_decoder {

struct ImageContext : DecoderContext {
    at::Tensor features;                // [grid area, dim]
    at::Tensor keys;                    // features + no_mask
    std::optional<SharedImage> shared;  // from `keys`; none for a single prompt
    std::vector<at::Tensor> tensors() const override;
};

class MaskPredictor {
public:
    // Reads shared_image_embedding, prompt_encoder and mask_decoder from the root of the weights.
    MaskPredictor(const WeightScope& root, const PromptShape& prompt, const DecoderShape& decoder);

    Size grid() const { return {shape_.grid, shape_.grid}; }
    Size low_res() const { return {4 * shape_.grid, 4 * shape_.grid}; }

    // Fills the context from features [grid area, dim].
    void prepare(ImageContext& context, const at::Tensor& features, const Schedule& schedule) const;
    // Without the shared sides.
    void prepare_single(ImageContext& context, const at::Tensor& features,
                        const Schedule& schedule) const;
    // See SegmentationModel::decode. high_res: null if the family has none.
    std::vector<DecodedMask> decode(const ImageContext& context, const UpscaleFeatures* high_res,
                                    const ModelPrompt& prompt, const DecodeRequest& request,
                                    const Schedule& schedule, Arena& arena) const;

private:
    PromptShape shape_;
    at::Tensor gaussian_;
    at::Tensor position_;  // [grid area, dim]
    PromptEncoder prompts_;
    MaskDecoder decoder_;
};

}  // namespace segrid::mask_decoder
