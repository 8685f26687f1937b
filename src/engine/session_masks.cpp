// The masks of a session's frame: from each object's logits to runs at the video's size.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/trace.h"
#include "engine/session.h"
#include "masks/overlap.h"

namespace segrid {

namespace {

// Gives a mask other runs, with their area and their box.
void set_runs(Mask& mask, Runs runs, Size size) {
    mask.runs = std::move(runs);
    mask.area = area(mask.runs);
    mask.box = inclusive_box(mask.runs, size);
}

// Whether a mask is kept beside logits that were rounded since, which may move a pixel of its
// boundary.
bool is_kept_beside_logits(const TrackedMask& mask) {
    return mask.logits.scalar_type() == at::kHalf && !mask.counts.empty();
}

}  // namespace

std::vector<at::Tensor> Session::logits_of(const std::vector<TrackedMask*>& found,
                                           const Schedule& schedule) const {
    const Size low = segmenter_.model().low_res();
    std::vector<at::Tensor> logits(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (found[i] == nullptr) {
            run_in_worker(schedule,
                          [&] { logits[i] = at::full({low.height, low.width}, kHidden); });
        } else if (found[i]->logits.defined()) {
            logits[i] = filled(*found[i], schedule);
        }
    }
    return logits;
}

Mask Session::mask_of(const TrackedMask* found, const at::Tensor& logits, int64_t index,
                      const MaskScan& scan, Arena& arena) const {
    constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
    if (!logits.defined()) {
        Mask mask;
        mask.prompt = index;
        mask.crop_box = frame_.crop_box();
        mask.score = found->iou;
        mask.object_score = found->score;
        mask.stability = kNone;
        set_runs(mask, from_coco_counts(decompress(found->counts), video()), video());
        return mask;
    }
    thread_local Runs runs;
    Mask mask = scan({.iou = found != nullptr ? found->iou : 0,
                      .object_score = found != nullptr ? found->score : kNone,
                      .logits = logits.const_data_ptr<float>()},
                     origin_of({}, index), runs, arena);
    mask.runs = Runs(runs.begin(), runs.end());
    if (found != nullptr && is_kept_beside_logits(*found) && !options_.non_overlap)
        set_runs(mask, from_coco_counts(decompress(found->counts), video()), video());
    return mask;
}

// A null pointer is an object that has no mask in this frame.
SessionFrame Session::result(int64_t frame, const std::vector<TrackedMask*>& found,
                             const Schedule& schedule) {
    const Span span("scan");
    const MaskScan scan(segmenter_.model(), frame_, {});
    const std::vector<at::Tensor> logits = logits_of(found, schedule);
    SessionFrame out;
    out.frame = frame;
    out.ids = ids();
    out.masks = MaskSet(video());
    std::vector<Mask>& masks = out.masks.masks();
    masks.resize(found.size());
    parallel_for(std::ssize(found), schedule, [&](int64_t index, Worker& worker) {
        const auto i = static_cast<std::size_t>(index);
        masks[i] = mask_of(found[i], logits[i], index, scan, worker.arena);
    });
    if (options_.non_overlap) {
        // Masks whose logits were dropped are disjoint already, but not from those of new prompts.
        const bool is_old = std::none_of(logits.begin(), logits.end(),
                                         [](const at::Tensor& all) { return all.defined(); });
        std::vector<at::Tensor> every = logits;
        std::vector<OverlapLayer> layers;
        for (std::size_t i = 0; i < found.size() && !is_old; ++i) {
            if (!every[i].defined()) every[i] = filled(*found[i], schedule);
            layers.push_back({every[i].const_data_ptr<float>(), &masks[i].runs});
        }
        make_disjoint(layers, scan.plan());
        for (Mask& mask : masks) set_runs(mask, std::move(mask.runs), video());
    }
    const bool complete = std::all_of(logits.begin(), logits.end(),
                                      [](const at::Tensor& all) { return all.defined(); });
    if (complete && !found.empty())
        run_in_worker(schedule, [&] { out.low_res = at::stack(logits); });
    return out;
}

SessionFrame Session::result(int64_t frame, const Schedule& schedule) {
    std::vector<TrackedMask*> found;
    for (Track& track : tracks_) found.push_back(track.find(frame));
    return result(frame, found, schedule);
}

SessionFrame Session::masks(int64_t frame, const Schedule& asked) {
    check_frame(frame);
    if (std::none_of(tracks_.begin(), tracks_.end(),
                     [&](Track& track) { return track.find(frame) != nullptr; })) {
        invalid("masks: no object was prompted or followed in frame " + std::to_string(frame));
    }
    return result(frame, segmenter_.capped(asked));
}

}  // namespace segrid
