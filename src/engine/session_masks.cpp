// The masks of a session's frame: from each object's logits to runs at the video's size.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/trace.h"
#include "engine/session.h"
#include "masks/overlap.h"

namespace segrid {

// A null pointer is an object that has no mask in this frame.
SessionFrame Session::result(int64_t frame, const std::vector<TrackedMask*>& found,
                             const Schedule& schedule) {
    const Span span("scan");
    const Size low = segmenter_.model().low_res();
    const auto count = static_cast<int64_t>(found.size());
    const MaskScan scan(segmenter_.model(), frame_, {});
    SessionFrame out;
    out.frame = frame;
    out.ids = ids();
    out.masks = MaskSet(video());
    out.masks.masks().resize(found.size());
    std::vector<at::Tensor> logits(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (found[i] != nullptr && found[i]->logits.defined())
            logits[i] = filled(*found[i], schedule);
        if (found[i] == nullptr)
            run_in_worker(schedule,
                          [&] { logits[i] = at::full({low.height, low.width}, kHidden); });
    }
    parallel_for(count, schedule, [&](int64_t index, Worker& worker) {
        const auto i = static_cast<std::size_t>(index);
        Mask& mask = out.masks.masks()[i];
        const MaskOrigin origin = origin_of({}, index);
        const float none = std::numeric_limits<float>::quiet_NaN();
        if (logits[i].defined()) {
            thread_local Runs runs;
            mask = scan({.iou = found[i] != nullptr ? found[i]->iou : 0,
                         .object_score = found[i] != nullptr ? found[i]->score : none,
                         .logits = logits[i].const_data_ptr<float>()},
                        origin, runs, worker.arena);
            mask.runs = Runs(runs.begin(), runs.end());
            // Logits that were rounded to half precision since may move a pixel of the boundary.
            if (found[i] != nullptr && found[i]->logits.scalar_type() == at::kHalf &&
                !found[i]->counts.empty() && !options_.non_overlap) {
                mask.runs = from_coco_counts(decompress(found[i]->counts), video());
                mask.area = area(mask.runs);
                mask.box = inclusive_box(mask.runs, video());
            }
            return;
        }
        mask.prompt = index;
        mask.crop_box = frame_.crop_box();
        mask.score = found[i]->iou;
        mask.object_score = found[i]->score;
        mask.stability = none;
        mask.runs = from_coco_counts(decompress(found[i]->counts), video());
    });
    const bool complete = std::all_of(logits.begin(), logits.end(),
                                      [](const at::Tensor& all) { return all.defined(); });
    if (options_.non_overlap) {
        std::vector<OverlapLayer> layers;
        for (std::size_t i = 0; i < found.size(); ++i) {
            if (logits[i].defined())
                layers.push_back({logits[i].const_data_ptr<float>(), &out.masks.masks()[i].runs});
        }
        make_disjoint(layers, scan.plan());
    }
    if (options_.non_overlap || !complete) {
        for (Mask& mask : out.masks.masks()) {
            mask.area = area(mask.runs);
            mask.box = inclusive_box(mask.runs, video());
        }
    }
    if (complete && count > 0) {
        run_in_worker(schedule, [&] { out.low_res = at::stack(logits); });
    }
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
