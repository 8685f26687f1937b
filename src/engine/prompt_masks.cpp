#include "engine/prompt_masks.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "masks/regions.h"

namespace segrid {
namespace {

ModelPrompt to_model(const Prompt& prompt, const FrameMap& frame) {
    ModelPrompt out;
    out.labels = prompt.labels;
    out.points_given = prompt.points_given || !prompt.points.empty();
    out.mask_hint = prompt.mask_hint;
    for (const ImagePoint& p : prompt.points) out.points.push_back(frame.to_model(p));
    if (prompt.box) out.box = frame.to_model(*prompt.box);
    return out;
}

std::vector<ModelPrompt> to_model(const std::vector<Prompt>& prompts, const FrameMap& frame) {
    std::vector<ModelPrompt> out;
    for (const Prompt& p : prompts) out.push_back(to_model(p, frame));
    return out;
}

// The resize from low-res logits to the pixels of the frame's crop. If the image was padded, it
// goes through the model's square; if it was squashed, it is direct.
ScanPlan scan_plan(const SegmentationModel& model, const FrameMap& frame) {
    const Size low = model.low_res();
    if (model.preprocess().resize == Resize::Squash) return {low, low.height, low, frame.crop()};
    return {low, model.preprocess().side, frame.resized(), frame.crop()};
}

RegionFilling filling_of(const MaskRules& rules) {
    return {.max_hole_area = rules.max_hole_area,
            .max_sprinkle_area = rules.max_sprinkle_area,
            .threshold = rules.threshold};
}

bool fills(const MaskRules& rules) {
    return rules.max_hole_area > 0 || rules.max_sprinkle_area > 0;
}

// The mask in image pixels, without runs. The box of an empty mask is zeros in its crop, as in
// segment-anything.
Mask make_mask(const ScanResult& found, const FrameMap& frame, float iou, float object_score,
               const MaskOrigin& origin) {
    Mask mask;
    mask.crop_box = frame.crop_box();
    mask.box = {static_cast<double>(found.x0) + mask.crop_box.x0,
                static_cast<double>(found.y0) + mask.crop_box.y0,
                static_cast<double>(found.x1) + mask.crop_box.x0,
                static_cast<double>(found.y1) + mask.crop_box.y0};
    mask.area = found.area;
    mask.stability = found.stability;
    mask.score = iou;
    mask.object_score = object_score;
    mask.prompt = origin.prompt;
    mask.point = origin.point;
    return mask;
}

}  // namespace

MaskOrigin origin_of(const Prompt& prompt, int64_t index) {
    const double none = std::numeric_limits<double>::quiet_NaN();
    return {index, prompt.points.empty() ? ImagePoint{none, none} : prompt.points.front()};
}

MaskScan::MaskScan(const SegmentationModel& model, const FrameMap& frame, const MaskRules& rules)
    : low_res_(model.low_res()), frame_(frame), rules_(rules), plan_(scan_plan(model, frame)) {}

Mask MaskScan::operator()(const DecodedMask& decoded, const MaskOrigin& origin, Runs& runs,
                          Arena& arena) const {
    const float* logits = decoded.logits;
    if (fills(rules_)) {
        float* own = arena.take<float>(low_res_.area());
        std::copy_n(logits, low_res_.area(), own);
        fill_small_regions(own, low_res_, filling_of(rules_));
        logits = own;
    }
    ScanResult found;
    segrid::scan(logits, plan_, rules_.threshold, rules_.stability_offset, found, &runs, arena);
    return make_mask(found, frame_, decoded.iou, decoded.object_score, origin);
}

PromptMasks::PromptMasks(const SegmentationModel& model, const Embedding& image,
                         const MaskRules& rules)
    : model_(model), image_(image), scan_(model, image.frame, rules) {}

std::vector<DecodedMask> PromptMasks::decode(const Prompt& prompt, const DecodeRequest& request,
                                             const Schedule& schedule, Arena& arena) const {
    std::vector<DecodedMask> masks =
        model_.decode(*image_.context, to_model(prompt, image_.frame), request, schedule, arena);
    // A mask whose IoU is NaN passes no threshold, so it has no logits.
    for (const DecodedMask& mask : masks) {
        if (!std::isfinite(mask.iou))
            fail(ErrorKind::Internal,
                 "the model gave a mask whose score is not a finite number; its weights, its "
                 "precision, the image's features or a mask hint overflow");
    }
    return masks;
}

void PromptMasks::refine(const Prompt& prompt, std::vector<DecodedMask>& masks,
                         const Schedule& schedule, Arena& arena) const {
    const int64_t pixels = model_.low_res().area();
    for (DecodedMask& mask : masks) {
        float* hint = arena.take<float>(pixels);
        for (int64_t i = 0; i < pixels; ++i)
            hint[i] = std::clamp(mask.logits[i], -kHintLimit, kHintLimit);
        Prompt again = prompt;
        again.mask_hint = hint;
        mask = decode(again, {}, schedule, arena).front();
    }
}

PromptMaskBatches::PromptMaskBatches(const SegmentationModel& model, const Embedding& image,
                                     const MaskRules& rules)
    : model_(model),
      image_(image),
      rules_(rules),
      scan_(scan_plan(model, image.frame), model.device()) {}

DecodedBatch PromptMaskBatches::decode(const std::vector<Prompt>& prompts,
                                       const DecodeRequest& request) const {
    return model_.decode_batch(*image_.context, to_model(prompts, image_.frame), request);
}

void PromptMaskBatches::refine(const std::vector<Prompt>& prompts, DecodedBatch& batch) const {
    std::vector<Prompt> again;
    for (const BatchMask& m : batch.masks)
        again.push_back(prompts[static_cast<std::size_t>(m.prompt)]);
    const DecodedBatch refined =
        model_.decode_batch(*image_.context, to_model(again, image_.frame), {},
                            batch.logits.clamp(-kHintLimit, kHintLimit));
    for (std::size_t i = 0; i < batch.masks.size(); ++i) batch.masks[i].iou = refined.masks[i].iou;
    batch.logits = refined.logits;
}

PromptMaskBatches::Scanned PromptMaskBatches::scan(
    const DecodedBatch& batch, const std::vector<MaskOrigin>& origins, int64_t bytes,
    const std::function<bool(std::size_t i, const Mask& mask)>& wanted) const {
    at::Tensor logits = batch.logits;
    if (fills(rules_)) logits = fill_small_regions(logits, filling_of(rules_), bytes);
    Scanned out;
    out.masks.resize(batch.masks.size());
    out.found = scan_(logits, rules_.threshold, rules_.stability_offset, bytes,
                      [&](int64_t index, const ScanResult& result) {
                          const auto i = static_cast<std::size_t>(index);
                          const BatchMask& m = batch.masks[i];
                          out.masks[i] = make_mask(result, image_.frame, m.iou, m.object_score,
                                                   origins[static_cast<std::size_t>(m.prompt)]);
                          return wanted(i, out.masks[i]);
                      });
    return out;
}

}  // namespace segrid
