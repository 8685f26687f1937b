#include "models/sam/sam.h"

#include <ATen/ATen.h>

#include "models/mask_decoder/mask_decoder.h"
#include "models/mask_decoder/prompt_encoder.h"
#include "models/sam/vision_encoder.h"

namespace segrid::sam {
namespace {

using mask_decoder::MaskDecoder;
using mask_decoder::PositionEncoding;
using mask_decoder::PromptEncoder;
using mask_decoder::SharedSide;

struct Context : DecoderContext {
    at::Tensor features;            // [keys, dim]
    at::Tensor keys;                // features + no_mask
    SharedSide read, update;        // layer 1 on `keys`
};

mask_decoder::PromptShape prompt_shape(const SamConfig& c) {
    return {.side = c.vision.image, .grid = c.vision.grid(), .dim = c.decoder.transformer.dim, .mask_channels = c.prompt.mask_channels, .eps = c.prompt.eps};
}

class Sam final : public SegmentationModel {
public:
    Sam(const Scope& root, const SamConfig& c)
        : config_(c), encoder_(root / "vision_encoder", c.vision), gaussian_(mask_decoder::positional_gaussian(root, c.decoder.transformer.dim)),
          prompts_(root / "prompt_encoder", prompt_shape(c), gaussian_), decoder_(root / "mask_decoder", c.decoder),
          position_(PositionEncoding(gaussian_).grid(c.vision.grid(), c.vision.grid())) {
        preprocess_.side = c.vision.image;
    }

    std::string family() const override { return "sam"; }
    const PreprocessSpec& preprocess() const override { return preprocess_; }
    Size low_res() const override { return {4 * grid().height, 4 * grid().width}; }
    std::vector<FeatureShape> feature_shapes() const override { return {{grid(), config_.decoder.transformer.dim}}; }
    int64_t multimask_outputs() const override { return config_.decoder.masks - 1; }

    Features encode(const ModelInput& input, const Schedule& schedule, const Tap* tap) const override {
        return {encoder_(input.bytes, input.size, schedule, tap)};
    }

    std::shared_ptr<const DecoderContext> prepare(const Features& all, const Schedule& schedule) const override {
        auto context = std::make_shared<Context>();
        const at::Tensor& features = context->features = all.front();
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
        return decoder_(image, grid(), nullptr, tokens.const_data_ptr<float>(), tokens.size(0), request, schedule, arena);
    }

private:
    Size grid() const { return {config_.vision.grid(), config_.vision.grid()}; }

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
