#include "models/sam2/sam2.h"

#include <ATen/ATen.h>

#include "models/mask_decoder/mask_predictor.h"
#include "models/sam2/hiera.h"
#include "models/sam2/memory.h"

namespace segrid::sam2 {
namespace {

struct Context : mask_decoder::ImageContext {
    at::Tensor half, quarter;  // in the order of upscaling
    UpscaleFeatures high_res;
    std::vector<at::Tensor> tensors() const override {
        std::vector<at::Tensor> all = ImageContext::tensors();
        all.insert(all.end(), {half, quarter});
        return all;
    }
};

class Sam2 final : public SegmentationModel {
public:
    Sam2(const WeightScope& root, Parts parts)
        : parts_(std::move(parts)),
          predictor_(root, parts_.config.prompt, parts_.config.decoder),
          no_memory_(root.tensor("no_memory_embedding", {1, 1, parts_.config.fpn})
                         .view({parts_.config.fpn})),
          preprocess_(sam2::preprocess(parts_.config)) {}

    std::string family() const override { return parts_.family; }
    const PreprocessSpec& preprocess() const override { return preprocess_; }
    Size low_res() const override { return predictor_.low_res(); }
    std::vector<FeatureShape> feature_shapes() const override {
        return sam2::feature_shapes(parts_.config);
    }
    int64_t multimask_outputs() const override { return parts_.config.decoder.masks - 1; }

    Features encode(const ModelInput& input, const Schedule& schedule,
                    const Tap* tap) const override {
        return parts_.encoder(input, schedule, tap);
    }
    at::Tensor no_memory() const override { return no_memory_; }
    const MemoryModel* memory() const override { return parts_.memory.get(); }

    std::shared_ptr<const DecoderContext> prepare(const Features& features,
                                                  const Schedule& schedule) const override {
        auto context = std::make_shared<Context>();
        take_high_res(*context, features, schedule);
        predictor_.prepare(*context, features.front(), schedule);
        return context;
    }

    std::shared_ptr<const DecoderContext> prepare_single(const Features& features,
                                                         const DecoderContext* other,
                                                         const Schedule& schedule) const override {
        auto context = std::make_shared<Context>();
        if (other != nullptr) *context = static_cast<const Context&>(*other);
        else take_high_res(*context, features, schedule);
        predictor_.prepare_single(*context, features.front(), schedule);
        return context;
    }

    bool takes(const DecoderContext& context) const override {
        return dynamic_cast<const Context*>(&context) != nullptr;
    }

    std::vector<DecodedMask> decode(const DecoderContext& base, const ModelPrompt& prompt,
                                    const DecodeRequest& request, const Schedule& schedule,
                                    Arena& arena) const override {
        const auto& context = static_cast<const Context&>(base);
        return predictor_.decode(context, &context.high_res, prompt, request, schedule, arena);
    }

private:
    void take_high_res(Context& context, const Features& features, const Schedule& schedule) const {
        const int64_t side = parts_.config.stages.sides[2];
        run_in_worker(schedule, [&] {
            context.half = in_upscale_order(features[1], side, side, 1);
            context.quarter = in_upscale_order(features[2], side, side, 2);
        });
        context.high_res = {context.half.const_data_ptr<float>(),
                            context.quarter.const_data_ptr<float>()};
    }

    Parts parts_;
    mask_decoder::MaskPredictor predictor_;
    at::Tensor no_memory_;
    PreprocessSpec preprocess_;
};

}  // namespace

PreprocessSpec preprocess(const ImageConfig& c) {
    return {.resize = Resize::Squash, .resample = Resample::BilinearFloat, .side = c.stages.image};
}

std::vector<FeatureShape> feature_shapes(const ImageConfig& c) {
    const auto square = [&](std::size_t stage) {
        return Size{c.stages.sides[stage], c.stages.sides[stage]};
    };
    return {{square(2), c.fpn}, {square(1), c.fpn / 4}, {square(0), c.fpn / 8}};
}

bool has_memory(const Config& config) {
    const std::string type = config.text("model_type"), video = "_video";
    return type.size() > video.size() &&
           type.compare(type.size() - video.size(), video.size(), video) == 0;
}

void finish(const Config& config, const WeightStore& store,
            const std::vector<std::string>& more_of_memory) {
    if (has_memory(config)) return store.finish();
    std::vector<std::string> left{"memory_",
                                  "mask_downsample",
                                  "object_pointer_proj",
                                  "temporal_positional_encoding_projection_layer",
                                  "no_memory_positional_encoding",
                                  "no_object_pointer",
                                  "occlusion_spatial_embedding_parameter"};
    left.insert(left.end(), more_of_memory.begin(), more_of_memory.end());
    store.finish(left);
}

std::unique_ptr<SegmentationModel> assemble(const WeightScope& root, Parts parts) {
    return std::make_unique<Sam2>(root, std::move(parts));
}

std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions) {
    const Sam2Config c(config);
    const WeightScope root(store, precisions);
    auto encoder = std::make_shared<const Hiera>(root / "vision_encoder", root / "mask_decoder", c);
    auto model = assemble(
        root, {.family = "sam2",
               .config = c,
               .encoder = [encoder](const ModelInput& input, const Schedule& schedule,
                                    const Tap* tap) { return (*encoder)(input, schedule, tap); },
               .memory = has_memory(config) ? load_memory(config, c, root) : nullptr});
    finish(config, store);
    return model;
}

}  // namespace segrid::sam2
