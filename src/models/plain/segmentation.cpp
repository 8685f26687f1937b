#include "models/plain/segmentation.h"

#include <ATen/ATen.h>

#include <functional>

#include "core/error.h"
#include "kernels/upscale/op.h"
#include "models/plain/hiera.h"
#include "models/plain/mask_decoder.h"
#include "models/plain/tiny_vit.h"
#include "models/plain/vit.h"
#include "models/sam2/sam2.h"

namespace segrid::plain {
namespace {

struct Parts {
    std::string family;
    PreprocessSpec preprocess;
    std::vector<FeatureShape> features;
    std::function<Features(const at::Tensor& image, const Tap* tap)> encoder;
    mask_decoder::PromptShape prompt;
    mask_decoder::DecoderShape decoder;
};

class Segmentation final : public SegmentationModel {
public:
    Segmentation(const Weights& root, Parts parts)
        : parts_(std::move(parts)),
          placement_(root.placement()),
          decoder_(root, parts_.prompt, parts_.decoder) {}

    std::string family() const override { return parts_.family; }
    const PreprocessSpec& preprocess() const override { return parts_.preprocess; }
    Size low_res() const override { return decoder_.low_res(); }
    std::vector<FeatureShape> feature_shapes() const override { return parts_.features; }
    int64_t multimask_outputs() const override { return parts_.decoder.masks - 1; }
    at::Device device() const override { return placement_.device; }
    bool batched() const override { return true; }
    int64_t bytes_per_prompt() const override { return decoder_.bytes_per_prompt(); }

    Features encode(const ModelInput& input, const Schedule& schedule,
                    const Tap* tap) const override {
        Features features;
        run_on_devices(schedule, [&] {
            features = parts_.encoder(pixels(input, parts_.preprocess, placement_), tap);
            for (const at::Tensor& f : features)
                check_finite(f, parts_.family + "'s image encoder");
        });
        return features;
    }

    std::shared_ptr<const DecoderContext> prepare(const Features& features,
                                                  const Schedule& schedule) const override {
        auto context = std::make_shared<ImageContext>();
        run_on_devices(schedule, [&] {
            const auto placed = [&](std::size_t i) {
                return features[i].to(placement_.device, placement_.type).contiguous();
            };
            context->features = placed(0).unsqueeze(0);
            if (features.size() < 3) return;
            const int64_t side = parts_.prompt.grid;
            context->half = in_upscale_order(placed(1), side, side, 1).view({side * side, 4, -1});
            context->quarter =
                in_upscale_order(placed(2), side, side, 2).view({side * side, 16, -1});
        });
        return context;
    }

    bool takes(const DecoderContext& context) const override {
        const auto* own = dynamic_cast<const ImageContext*>(&context);
        return own != nullptr && own->features.device() == placement_.device &&
               own->features.scalar_type() == placement_.type;
    }

    DecodedBatch decode_batch(const DecoderContext& context,
                              const std::vector<ModelPrompt>& prompts, const DecodeRequest& request,
                              const at::Tensor& hints) const override {
        return decoder_(static_cast<const ImageContext&>(context), prompts, request, hints);
    }

    std::vector<DecodedMask> decode(const DecoderContext& context, const ModelPrompt& prompt,
                                    const DecodeRequest& request, const Schedule& schedule,
                                    Arena& arena) const override {
        const int64_t wanted = request.multimask ? multimask_outputs() : 1, area = low_res().area();
        float* logits = arena.take<float>(wanted * area);
        std::vector<DecodedMask> masks(static_cast<std::size_t>(wanted));
        run_on_devices(schedule, [&] {
            const DecodedBatch batch = decode_batch(context, {prompt}, request, {});
            const at::Tensor host = on_host(batch.logits);
            for (std::size_t i = 0; i < batch.masks.size(); ++i) {
                float* to = logits + static_cast<int64_t>(i) * area;
                std::copy_n(host.const_data_ptr<float>() + static_cast<int64_t>(i) * area, area,
                            to);
                masks[static_cast<std::size_t>(batch.masks[i].number)] = {
                    .iou = batch.masks[i].iou,
                    .object_score = batch.masks[i].object_score,
                    .logits = to};
            }
        });
        return masks;
    }

private:
    Parts parts_;
    Placement placement_;
    MaskDecoder decoder_;
};

mask_decoder::PromptShape prompt_shape(int64_t side, int64_t grid, int64_t dim,
                                       const mask_decoder::PromptConfig& c) {
    return {.side = side, .grid = grid, .dim = dim, .mask_channels = c.mask_channels, .eps = c.eps};
}

Size square(int64_t side) { return {side, side}; }

}  // namespace

std::unique_ptr<SegmentationModel> load_sam(const Config& config, WeightStore& store,
                                            Placement placement) {
    const sam::SamConfig c(config);
    const Weights root(Scope(store), placement);
    auto encoder = std::make_shared<const Vit>(root / "vision_encoder", c.vision);
    Parts parts{.family = "sam",
                .preprocess = {.side = c.vision.image},
                .features = {{square(c.vision.grid()), c.vision.output}},
                .encoder = [encoder](const at::Tensor& image,
                                     const Tap* tap) { return Features{(*encoder)(image, tap)}; },
                .prompt = prompt_shape(c.vision.image, c.vision.grid(), c.vision.output, c.prompt),
                .decoder = c.decoder};
    auto model = std::make_unique<Segmentation>(root, std::move(parts));
    store.finish();
    return model;
}

std::unique_ptr<SegmentationModel> load_mobile_sam(const Config& config, WeightStore& store,
                                                   Placement placement) {
    if (placement.type == at::kHalf) {
        fail(ErrorKind::Unsupported,
             config.name() +
                 ": precision='fp16': MobileSAM's encoder overflows in it; use 'bf16' or 'fp32'");
    }
    const mobile_sam::TinyVitConfig c(config);
    const Weights root(Scope(store), placement);
    const int64_t grid = c.grid(mobile_sam::kStages - 1);
    auto encoder = std::make_shared<const TinyVit>(root / "vision_encoder", c);
    Parts parts{.family = "mobile_sam",
                .preprocess = {.side = c.image},
                .features = {{square(grid), c.output}},
                .encoder = [encoder](const at::Tensor& image,
                                     const Tap* tap) { return Features{(*encoder)(image, tap)}; },
                .prompt = prompt_shape(c.image, grid, c.output, mask_decoder::read_prompt(config)),
                .decoder = mask_decoder::read_decoder(config)};
    auto model = std::make_unique<Segmentation>(root, std::move(parts));
    store.finish();
    return model;
}

std::unique_ptr<SegmentationModel> load_sam2(const Config& config, WeightStore& store,
                                             Placement placement) {
    const sam2::Sam2Config c(config);
    const Weights root(Scope(store), placement);
    auto encoder = std::make_shared<const Hiera>(root / "vision_encoder", root / "mask_decoder", c);
    const at::Tensor no_memory = root.tensor("no_memory_embedding", {1, 1, c.fpn}).view({1, c.fpn});
    Parts parts{.family = "sam2",
                .preprocess = {.resize = Resize::Squash,
                               .resample = Resample::BilinearFloat,
                               .side = c.hiera.image},
                .features = {{square(c.hiera.grid(2)), c.fpn},
                             {square(c.hiera.grid(1)), c.fpn / 4},
                             {square(c.hiera.grid(0)), c.fpn / 8}},
                .encoder =
                    [encoder, no_memory](const at::Tensor& image, const Tap* tap) {
                        Features features = (*encoder)(image, tap);
                        features.front() = features.front() + no_memory;
                        return features;
                    },
                .prompt = prompt_shape(c.hiera.image, c.hiera.grid(2), c.fpn, c.prompt),
                .decoder = c.decoder};
    parts.prompt.padded_boxes = true;
    auto model = std::make_unique<Segmentation>(root, std::move(parts));
    store.finish(sam2::of_video());
    return model;
}

}  // namespace segrid::plain
