#include "models/sam/sam.h"

#include <ATen/ATen.h>

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

class Sam final : public SegmentationModel {
public:
    Sam(const Scope& root, Parts parts)
        : parts_(std::move(parts)), gaussian_(mask_decoder::positional_gaussian(root, parts_.prompt.dim)),
          prompts_(root / "prompt_encoder", parts_.prompt, gaussian_), decoder_(root / "mask_decoder", parts_.decoder),
          position_(PositionEncoding(gaussian_).grid(parts_.prompt.grid, parts_.prompt.grid)) {
        preprocess_.side = parts_.prompt.side;
    }

    std::string family() const override { return parts_.family; }
    const PreprocessSpec& preprocess() const override { return preprocess_; }
    Size low_res() const override { return {4 * grid().height, 4 * grid().width}; }
    std::vector<FeatureShape> feature_shapes() const override { return {{grid(), parts_.prompt.dim}}; }
    int64_t multimask_outputs() const override { return parts_.decoder.masks - 1; }

    Features encode(const ModelInput& input, const Schedule& schedule, const Tap* tap) const override {
        return {parts_.encoder(input, schedule, tap)};
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
    Size grid() const { return {parts_.prompt.grid, parts_.prompt.grid}; }

    Parts parts_;
    PreprocessSpec preprocess_;
    at::Tensor gaussian_;
    PromptEncoder prompts_;
    MaskDecoder decoder_;
    at::Tensor position_;  // [keys, dim]
};

}  // namespace

std::unique_ptr<SegmentationModel> assemble(const Scope& root, Parts parts) { return std::make_unique<Sam>(root, std::move(parts)); }

std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store, Precision precision) {
    const SamConfig c(config);
    const Scope root(store, precision);
    auto encoder = std::make_shared<const VisionEncoder>(root / "vision_encoder", c.vision);
    auto model = assemble(root, {.family = "sam",
                                 .prompt = {.side = c.vision.image, .grid = c.vision.grid(), .dim = c.decoder.transformer.dim,
                                            .mask_channels = c.prompt.mask_channels, .eps = c.prompt.eps},
                                 .decoder = c.decoder,
                                 .encoder = [encoder](const ModelInput& input, const Schedule& schedule, const Tap* tap) {
                                     return (*encoder)(input.bytes, input.size, schedule, tap);
                                 }});
    store.finish();
    return model;
}

}  // namespace segrid::sam
