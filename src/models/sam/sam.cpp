#include "models/sam/sam.h"

#include "models/sam/vision_encoder.h"

namespace segrid::sam {
namespace {

using mask_decoder::ImageContext;

class Sam final : public SegmentationModel {
public:
    Sam(const WeightScope& root, Parts parts)
        : parts_(std::move(parts)), predictor_(root, parts_.prompt, parts_.decoder) {
        preprocess_.side = parts_.prompt.side;
    }

    std::string family() const override { return parts_.family; }
    const PreprocessSpec& preprocess() const override { return preprocess_; }
    Size low_res() const override { return predictor_.low_res(); }
    std::vector<FeatureShape> feature_shapes() const override {
        return {{predictor_.grid(), parts_.prompt.dim}};
    }
    int64_t multimask_outputs() const override { return parts_.decoder.masks - 1; }

    Features encode(const ModelInput& input, const Schedule& schedule,
                    const Tap* tap) const override {
        return {parts_.encoder(input, schedule, tap)};
    }

    std::shared_ptr<const DecoderContext> prepare(const Features& features,
                                                  const Schedule& schedule) const override {
        auto context = std::make_shared<ImageContext>();
        predictor_.prepare(*context, features.front(), schedule);
        return context;
    }

    bool takes(const DecoderContext& context) const override {
        return dynamic_cast<const ImageContext*>(&context) != nullptr;
    }

    std::vector<DecodedMask> decode(const DecoderContext& context, const ModelPrompt& prompt,
                                    const DecodeRequest& request, const Schedule& schedule,
                                    Arena& arena) const override {
        return predictor_.decode(static_cast<const ImageContext&>(context), nullptr, prompt,
                                 request, schedule, arena);
    }

private:
    Parts parts_;
    PreprocessSpec preprocess_;
    mask_decoder::MaskPredictor predictor_;
};

}  // namespace

std::unique_ptr<SegmentationModel> assemble(const WeightScope& root, Parts parts) {
    return std::make_unique<Sam>(root, std::move(parts));
}

std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions) {
    const SamConfig c(config);
    const WeightScope root(store, precisions);
    auto encoder = std::make_shared<const VisionEncoder>(root / "vision_encoder", c.vision);
    auto model = assemble(
        root, {.family = "sam",
               .prompt = c.prompt,
               .decoder = c.decoder,
               .encoder = [encoder](const ModelInput& input, const Schedule& schedule,
                                    const Tap* tap) { return (*encoder)(input, schedule, tap); }});
    store.finish();
    return model;
}

}  // namespace segrid::sam
