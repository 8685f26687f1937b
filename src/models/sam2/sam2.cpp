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
};

class Sam2 final : public SegmentationModel {
public:
    Sam2(const WeightScope& root, const Sam2Config& c, std::unique_ptr<MemoryModel> memory)
        : config_(c),
          encoder_(root / "vision_encoder", root / "mask_decoder", c),
          predictor_(root, c.prompt, c.decoder),
          no_memory_(root.tensor("no_memory_embedding", {1, 1, c.fpn}).view({c.fpn})),
          preprocess_(sam2::preprocess(c)),
          memory_(std::move(memory)) {}

    std::string family() const override { return "sam2"; }
    const PreprocessSpec& preprocess() const override { return preprocess_; }
    Size low_res() const override { return predictor_.low_res(); }
    std::vector<FeatureShape> feature_shapes() const override {
        return sam2::feature_shapes(config_);
    }
    int64_t multimask_outputs() const override { return config_.decoder.masks - 1; }

    Features encode(const ModelInput& input, const Schedule& schedule,
                    const Tap* tap) const override {
        return encoder_(input, schedule, tap);
    }
    at::Tensor no_memory() const override { return no_memory_; }
    const MemoryModel* memory() const override { return memory_.get(); }

    std::shared_ptr<const DecoderContext> prepare(const Features& features,
                                                  const Schedule& schedule) const override {
        auto context = std::make_shared<Context>();
        const int64_t side = config_.hiera.grid(2);
        run_in_worker(schedule, [&] {
            context->half = in_upscale_order(features[1], side, side, 1);
            context->quarter = in_upscale_order(features[2], side, side, 2);
        });
        context->high_res = {context->half.const_data_ptr<float>(),
                             context->quarter.const_data_ptr<float>()};
        predictor_.prepare(*context, features.front(), schedule);
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
    Sam2Config config_;
    Hiera encoder_;
    mask_decoder::MaskPredictor predictor_;
    at::Tensor no_memory_;
    PreprocessSpec preprocess_;
    std::unique_ptr<MemoryModel> memory_;
};

}  // namespace

PreprocessSpec preprocess(const Sam2Config& c) {
    return {.resize = Resize::Squash, .resample = Resample::BilinearFloat, .side = c.hiera.image};
}

std::vector<FeatureShape> feature_shapes(const Sam2Config& c) {
    const auto square = [&](int64_t stage) {
        return Size{c.hiera.grid(stage), c.hiera.grid(stage)};
    };
    return {{square(2), c.fpn}, {square(1), c.fpn / 4}, {square(0), c.fpn / 8}};
}

bool has_memory(const Config& config) { return config.text("model_type") == "sam2_video"; }

void finish(const Config& config, const WeightStore& store) {
    if (has_memory(config)) return store.finish();
    store.finish({"memory_", "mask_downsample", "object_pointer_proj",
                  "temporal_positional_encoding_projection_layer", "no_memory_positional_encoding",
                  "no_object_pointer", "occlusion_spatial_embedding_parameter"});
}

std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions) {
    const Sam2Config c(config);
    const WeightScope root(store, precisions);
    auto model = std::make_unique<Sam2>(
        root, c, has_memory(config) ? load_memory(config, c, root) : nullptr);
    finish(config, store);
    return model;
}

}  // namespace segrid::sam2
