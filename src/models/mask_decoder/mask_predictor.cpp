#include "models/mask_decoder/mask_predictor.h"

#include <ATen/ATen.h>

namespace segrid::mask_decoder {

MaskPredictor::MaskPredictor(const WeightScope& root, const PromptShape& prompt,
                             const DecoderShape& decoder)
    : shape_(prompt),
      gaussian_(positional_gaussian(root, prompt.dim)),
      position_(PositionEncoding(gaussian_).grid(prompt.grid, prompt.grid)),
      prompts_(root / "prompt_encoder", prompt, gaussian_),
      decoder_(root / "mask_decoder", decoder, position_) {}

std::vector<at::Tensor> ImageContext::tensors() const {
    std::vector<at::Tensor> all{features, keys};
    if (!shared) return all;
    all.insert(all.end(), {shared->first, shared->first_bias});
    for (const auto* sides : {&shared->reads, &shared->updates}) {
        for (const SharedSide& side : *sides) {
            all.insert(all.end(), {side.scores, side.values});
            for (const at::Tensor& t : side.deviation.tensors()) all.push_back(t);
        }
    }
    return all;
}

void MaskPredictor::prepare(ImageContext& context, const at::Tensor& features,
                            const Schedule& schedule) const {
    prepare_single(context, features, schedule);
    context.shared = decoder_.share(context.keys, schedule);
}

void MaskPredictor::prepare_single(ImageContext& context, const at::Tensor& features,
                                   const Schedule& schedule) const {
    context.features = features;
    context.shared.reset();
    run_in_worker(schedule, [&] { context.keys = features + prompts_.no_mask(); });
}

std::vector<DecodedMask> MaskPredictor::decode(const ImageContext& context,
                                               const UpscaleFeatures* high_res,
                                               const ModelPrompt& prompt,
                                               const DecodeRequest& request,
                                               const Schedule& schedule, Arena& arena) const {
    ImageTokens image{.keys = context.keys.const_data_ptr<float>(),
                      .position = position_.const_data_ptr<float>(),
                      .count = grid().area(),
                      .shared = context.shared ? &*context.shared : nullptr};
    at::Tensor tokens, own_keys;
    run_in_worker(schedule, [&] {
        tokens = prompts_.tokens(prompt);
        if (prompt.mask_hint != nullptr)
            own_keys = context.features + prompts_.mask(prompt.mask_hint);
    });
    if (own_keys.defined()) {
        image.keys = own_keys.const_data_ptr<float>();
        image.shared = nullptr;
    }
    return decoder_(image, grid(), high_res, tokens.const_data_ptr<float>(), tokens.size(0),
                    request, schedule, arena);
}

}  // namespace segrid::mask_decoder
