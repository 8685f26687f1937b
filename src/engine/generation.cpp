#include "engine/generation.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/memory.h"
#include "kernels/nms/op.h"
#include "masks/filter.h"

namespace segrid {

Generation::Generation(const Segmenter& s, const EverythingCall& c, Size image)
    : segmenter(s), call(c), options(c.options), masks(image) {
    schedule = s.capped(c.schedule);
    schedule.poll = [this, outer = c.schedule.poll] {
        try {
            if (outer) outer();
            tell();
        } catch (...) {
            interrupted = true;
            throw;
        }
    };
}

void Generation::check() const {
    if (interrupted) throw Cancelled();
    schedule.cancel.check();
}

void Generation::tell() {
    if (call.progress && watch.seconds() - told >= call.progress_interval) tell_now();
}

void Generation::tell_now() {
    if (!call.progress) return;
    told = watch.seconds();
    call.progress({.stage = stage,
                   .done = done,
                   .total = total,
                   .kept = kept,
                   .elapsed = told,
                   .memory_mb = resident_mb()});
}

void Generation::begin(const std::string& name) {
    stage = name;
    tell_now();
}

MaskRules Generation::mask_rules() const {
    return {.threshold = static_cast<float>(options.mask_threshold),
            .stability_offset = static_cast<float>(options.stability_score_offset),
            .max_hole_area = options.max_hole_area,
            .max_sprinkle_area = options.max_sprinkle_area};
}

DecodeRequest Generation::request() const {
    DecodeRequest request{.multimask = options.multimask};
    // A mask below the threshold may be above it after refinement.
    if (options.pred_iou_thresh > 0 && !options.use_m2m)
        request.iou_above = static_cast<float>(options.pred_iou_thresh);
    return request;
}

Prompt prompt_of(const Embedding& crop, const ImagePoint& p) {
    const Size size = crop.frame.crop();
    const ImageBox box = crop.frame.crop_box();
    const ImagePoint point{box.x0 + p.x * static_cast<double>(size.width),
                           box.y0 + p.y * static_cast<double>(size.height)};
    return {.points = {point}, .labels = {1}, .box = {}, .mask_hint = nullptr};
}

bool passes_iou(const EverythingOptions& o, float iou) {
    return o.pred_iou_thresh <= 0 || iou > static_cast<float>(o.pred_iou_thresh);
}

bool passes_scan(const EverythingOptions& o, const Embedding& crop, const Mask& mask) {
    // Written so that NaN fails.
    if (o.stability_score_thresh > 0 &&
        !(mask.stability >= static_cast<float>(o.stability_score_thresh)))
        return false;
    return !near_crop_edge(mask.box, mask.crop_box, crop.image());
}

bool runs_given_up(const Mask& m) { return m.runs.empty() && m.area > 0; }

std::vector<int64_t> kept_by_box_nms(const Generation& run, const MaskSet& set,
                                     const std::vector<float>& scores, double threshold) {
    std::vector<float> boxes;
    boxes.reserve(set.masks().size() * 4);
    for (const Mask& m : set.masks()) {
        for (const double v : {m.box.x0, m.box.y0, m.box.x1, m.box.y1})
            boxes.push_back(static_cast<float>(v));
    }
    return box_nms(boxes.data(), scores.data(), static_cast<int64_t>(scores.size()), threshold,
                   [&] { run.check(); });
}

std::vector<float> predicted_iou(const MaskSet& set) {
    std::vector<float> scores;
    for (const Mask& m : set.masks()) scores.push_back(m.score);
    return scores;
}

void append_masks(Generation& run, const Embedding& crop, MaskSet& set) {
    const Size size = crop.frame.crop();
    const ImageBox box = crop.frame.crop_box();
    for (Mask& m : set.masks()) {
        if (size != crop.image()) {
            m.runs = translate(m.runs, size, crop.image(), static_cast<int64_t>(box.x0),
                               static_cast<int64_t>(box.y0));
        }
        run.masks.masks().push_back(std::move(m));
    }
    set.masks().clear();
}

}  // namespace segrid
