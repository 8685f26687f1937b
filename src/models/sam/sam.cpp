#include "models/sam/sam.h"

#include <ATen/ATen.h>

#include "models/mask_decoder/mask_decoder.h"
#include "models/sam/prompt_encoder.h"
#include "models/sam/vision_encoder.h"

namespace segrid::sam {
namespace {

using mask_decoder::MaskDecoder;
using mask_decoder::SharedSide;

struct Context : DecoderContext {
    at::Tensor features;            // [keys, dim]
    at::Tensor keys;                // features + no_mask
    SharedSide read, update;        // layer 1 on `keys`
};

mask_decoder::DecoderShape decoder_shape(const DecoderConfig& c) {
    return {.transformer = {.dim = c.hidden, .layers = c.layers, .heads = c.heads, .mlp = c.mlp, .downsample = c.downsample,
                            .eps = c.eps},
            .masks = 1 + c.multimask, .iou_depth = c.iou_depth, .iou_hidden = c.iou_hidden};
}

// The positional matrix is stored once or twice under tied names.
at::Tensor gaussian(const Scope& root, int64_t dim) {
    const Scope shared = root / "shared_image_embedding", tied = root / "prompt_encoder" / "shared_embedding";
    const bool first = shared.has("positional_embedding");
    if (first && tied.has("positional_embedding")) tied.tensor("positional_embedding", {2, dim / 2});
    return (first ? shared : tied).tensor("positional_embedding", {2, dim / 2});
}

class Sam final : public SegmentationModel {
public:
    Sam(const Scope& root, const SamConfig& c)
        : config_(c), encoder_(root / "vision_encoder", c.vision), gaussian_(gaussian(root, c.decoder.hidden)),
          prompts_(root / "prompt_encoder", c, gaussian_), decoder_(root / "mask_decoder", decoder_shape(c.decoder)),
          position_(PositionEncoding(gaussian_).grid(c.vision.grid(), c.vision.grid())) {
        preprocess_.side = c.vision.image;
    }

    std::string family() const override { return "sam"; }
    const PreprocessSpec& preprocess() const override { return preprocess_; }
    Size grid() const override { return {config_.vision.grid(), config_.vision.grid()}; }
    Size low_res() const override { return {4 * grid().height, 4 * grid().width}; }
    int64_t channels() const override { return config_.decoder.hidden; }
    int64_t multimask_outputs() const override { return config_.decoder.multimask; }

    at::Tensor encode(const uint8_t* rgb, Size resized, const Schedule& schedule, const Tap* tap) const override {
        return encoder_(rgb, resized, schedule, tap);
    }

    std::shared_ptr<const DecoderContext> prepare(const at::Tensor& features, const Schedule& schedule) const override {
        auto context = std::make_shared<Context>();
        context->features = features;
        at::Tensor placed;
        run_in_worker(schedule, [&] {
            context->keys = features + prompts_.no_mask();
            placed = context->keys + position_;
        });
        context->read = decoder_.transformer().share_read(context->keys, placed, schedule);
        context->update = decoder_.transformer().share_update(placed, schedule);
        return context;
    }

    std::vector<DecodedMask> decode(const DecoderContext& base, const ModelPrompt& prompt, const DecodeRequest& request,
                                    const Schedule& schedule, Arena& arena) const override {
        const auto& context = static_cast<const Context&>(base);
        mask_decoder::ImageTokens image{.keys = context.keys.const_data_ptr<float>(),
                                        .position = position_.const_data_ptr<float>(), .count = grid().area(),
                                        .read = &context.read, .update = &context.update};
        at::Tensor tokens, own_keys;
        run_in_worker(schedule, [&] {
            tokens = prompts_.tokens(prompt);
            if (prompt.mask_hint != nullptr) own_keys = context.features + prompts_.mask(prompt.mask_hint);
        });
        if (own_keys.defined()) {
            image.keys = own_keys.const_data_ptr<float>();
            image.read = image.update = nullptr;
        }
        return decoder_(image, grid(), tokens.const_data_ptr<float>(), tokens.size(0), request, schedule, arena);
    }

private:
    SamConfig config_;
    PreprocessSpec preprocess_;
    VisionEncoder encoder_;
    at::Tensor gaussian_;
    PromptEncoder prompts_;
    MaskDecoder decoder_;
    at::Tensor position_;  // [keys, dim]
};

}  // namespace

std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store, Precision precision) {
    auto model = std::make_unique<Sam>(Scope(store, precision), SamConfig(config));
    store.finish();
    return model;
}

}  // namespace segrid::sam
