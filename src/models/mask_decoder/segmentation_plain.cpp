#include "models/mask_decoder/segmentation_plain.h"

#include <ATen/ATen.h>

#include "kernels/upscale/op.h"

namespace segrid::plain {
namespace {

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
    at::Tensor no_memory() const override { return parts_.no_memory; }
    const MemoryModel* memory() const override { return parts_.memory.get(); }
    at::Device device() const override { return placement_.device; }
    bool batched() const override { return true; }
    int64_t bytes_per_prompt() const override { return decoder_.bytes_per_prompt(); }

    int64_t bytes_per_image() const override {
        const int64_t side = parts_.preprocess.side, pixels = 3 * side * side;
        return pixels * static_cast<int64_t>(3 * sizeof(float)) +
               parts_.values_per_image * static_cast<int64_t>(c10::elementSize(placement_.type));
    }

    Features encode(const ModelInput& input, const Schedule& schedule,
                    const Tap* tap) const override {
        return encode_all({input}, schedule, tap).front();
    }

    std::vector<Features> encode_batch(const std::vector<ModelInput>& inputs,
                                       const Schedule& schedule) const override {
        return encode_all(inputs, schedule, nullptr);
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
        const int64_t dim = parts_.prompt.dim;
        float* logits = arena.take<float>(wanted * area);
        float* tokens = request.tokens ? arena.take<float>(wanted * dim) : nullptr;
        std::vector<DecodedMask> masks(static_cast<std::size_t>(wanted));
        run_on_devices(schedule, [&] {
            const DecodedBatch batch = decode_batch(context, {prompt}, request, {});
            const auto taken = [&](const at::Tensor& all, std::size_t i, int64_t size, float* to) {
                const at::Tensor row = on_host(all[static_cast<int64_t>(i)]);
                return std::copy_n(row.const_data_ptr<float>(), size, to) - size;
            };
            for (std::size_t i = 0; i < batch.masks.size(); ++i) {
                const BatchMask& m = batch.masks[i];
                DecodedMask& mask = masks[static_cast<std::size_t>(m.number)];
                mask = {.iou = m.iou, .object_score = m.object_score};
                mask.logits = taken(batch.logits, i, area, logits + m.number * area);
                if (request.tokens)
                    mask.token = taken(batch.tokens, i, dim, tokens + m.number * dim);
            }
        });
        return masks;
    }

private:
    std::vector<Features> encode_all(const std::vector<ModelInput>& inputs,
                                     const Schedule& schedule, const Tap* tap) const {
        std::vector<Features> all(inputs.size());
        run_on_devices(schedule, [&] {
            for (const at::Tensor& f :
                 parts_.encoder(pixels(inputs, parts_.preprocess, placement_), tap)) {
                check_finite(f, parts_.family + "'s image encoder");
                // Each of several images has memory of its own, which goes when it does.
                for (std::size_t i = 0; i < all.size(); ++i) {
                    const at::Tensor own = f.select(0, static_cast<int64_t>(i));
                    all[i].push_back(all.size() > 1 ? own.clone() : own);
                }
            }
        });
        return all;
    }

    Parts parts_;
    Placement placement_;
    MaskDecoder decoder_;
};

}  // namespace

std::unique_ptr<SegmentationModel> assemble(const Weights& root, Parts parts) {
    return std::make_unique<Segmentation>(root, std::move(parts));
}

}  // namespace segrid::plain
