#include "models/sam2/sam2.h"

#include <ATen/ATen.h>

#include "models/mask_decoder/prompt_encoder.h"
#include "models/sam2/hiera.h"

namespace segrid::sam2 {
namespace {

using mask_decoder::MaskDecoder;
using mask_decoder::PositionEncoding;
using mask_decoder::PromptEncoder;
using mask_decoder::SharedSide;

struct Context : DecoderContext {
    at::Tensor features;            // [keys, dim], with the embedding that says "no memory"
    at::Tensor keys;                // features + no_mask
    SharedSide read, update;        // layer 1 on `keys`
    at::Tensor half, quarter;       // in the order of upscaling
    UpscaleFeatures high_res;
};

mask_decoder::PromptShape prompt_shape(const Sam2Config& c) {
    return {.side = c.hiera.image, .grid = c.hiera.grid(2), .dim = c.fpn, .mask_channels = c.prompt.mask_channels, .eps = c.prompt.eps, .padded_boxes = true};
}

class Sam2 final : public SegmentationModel {
public:
    Sam2(const Scope& root, const Sam2Config& c)
        : config_(c), encoder_(root / "vision_encoder", root / "mask_decoder", c), gaussian_(mask_decoder::positional_gaussian(root, c.fpn)),
          prompts_(root / "prompt_encoder", prompt_shape(c), gaussian_), decoder_(root / "mask_decoder", c.decoder),
          no_memory_(root.tensor("no_memory_embedding", {1, 1, c.fpn}).view({c.fpn})),
          position_(PositionEncoding(gaussian_).grid(c.hiera.grid(2), c.hiera.grid(2))) {
        preprocess_ = {.resize = Resize::Squash, .rounded = false, .side = c.hiera.image};
    }

    std::string family() const override { return "sam2"; }
    const PreprocessSpec& preprocess() const override { return preprocess_; }
    Size low_res() const override { return square(0); }
    std::vector<FeatureShape> feature_shapes() const override {
        return {{square(2), config_.fpn}, {square(1), config_.fpn / 4}, {square(0), config_.fpn / 8}};
    }
    int64_t multimask_outputs() const override { return config_.decoder.masks - 1; }

    Features encode(const ModelInput& input, const Schedule& schedule, const Tap* tap) const override {
        Features features = encoder_(input, schedule, tap);
        run_in_worker(schedule, [&] { features.front().add_(no_memory_); });
        return features;
    }

    std::shared_ptr<const DecoderContext> prepare(const Features& features, const Schedule& schedule) const override {
        auto context = std::make_shared<Context>();
        context->features = features[0];
        const int64_t side = square(2).height;
        at::Tensor placed;
        run_in_worker(schedule, [&] {
            context->keys = features[0] + prompts_.no_mask();
            placed = context->keys + position_;
            context->half = in_upscale_order(features[1], side, side, 1);
            context->quarter = in_upscale_order(features[2], side, side, 2);
        });
        context->high_res = {context->half.const_data_ptr<float>(), context->quarter.const_data_ptr<float>()};
        context->read = decoder_.transformer().share_read(context->keys, placed, schedule);
        context->update = decoder_.transformer().share_update(placed, schedule);
        return context;
    }

    std::vector<DecodedMask> decode(const DecoderContext& base, const ModelPrompt& prompt, const DecodeRequest& request,
                                    const Schedule& schedule, Arena& arena) const override {
        const auto& context = static_cast<const Context&>(base);
        mask_decoder::ImageTokens image{.keys = context.keys.const_data_ptr<float>(), .position = position_.const_data_ptr<float>(),
                                        .count = square(2).area(), .read = &context.read, .update = &context.update};
        at::Tensor tokens, own_keys;
        run_in_worker(schedule, [&] {
            tokens = prompts_.tokens(prompt);
            if (prompt.mask_hint != nullptr) own_keys = context.features + prompts_.mask(prompt.mask_hint);
        });
        if (own_keys.defined()) {
            image.keys = own_keys.const_data_ptr<float>();
            image.read = image.update = nullptr;
        }
        return decoder_(image, square(2), &context.high_res, tokens.const_data_ptr<float>(), tokens.size(0), request, schedule, arena);
    }

private:
    Size square(int64_t stage) const { return {config_.hiera.grid(stage), config_.hiera.grid(stage)}; }

    Sam2Config config_;
    PreprocessSpec preprocess_;
    Hiera encoder_;
    at::Tensor gaussian_;
    PromptEncoder prompts_;
    MaskDecoder decoder_;
    at::Tensor no_memory_;
    at::Tensor position_;  // [keys, dim]
};

}  // namespace

std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store, Precision precision) {
    auto model = std::make_unique<Sam2>(Scope(store, precision), Sam2Config(config));
    store.finish({"memory_", "mask_downsample", "object_pointer_proj", "temporal_positional_encoding_projection_layer", "no_memory_positional_encoding",
                  "no_object_pointer", "occlusion_spatial_embedding_parameter"});  // of video
    return model;
}

}  // namespace segrid::sam2
