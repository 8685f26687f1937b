#include "engine/everything.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/memory.h"
#include "core/trace.h"
#include "engine/generation.h"
#include "masks/dedupe.h"
#include "masks/regions.h"

namespace segrid {
namespace {

// Decodes all points of one crop and adds their masks to run.masks.
void decode_crop(Generation& run, const Embedding& crop, const std::vector<ImagePoint>& grid,
                 int64_t first_prompt) {
    run.begin("decode");
    const bool batched = run.segmenter.model().batched();
    (batched ? decode_crop_by_batches : decode_crop_on_workers)(run, crop, grid, first_prompt);
}

std::vector<int64_t> order_by_score(const MaskSet& set) {
    std::vector<int64_t> order(set.masks().size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return set.masks()[static_cast<std::size_t>(a)].score >
               set.masks()[static_cast<std::size_t>(b)].score;
    });
    return order;
}

// Applies the filters that segrid adds to segment-anything's, in the order of EverythingOptions.
void thin(Generation& run) {
    const Span span("thin");
    const EverythingOptions& o = run.options;
    MaskSet& set = run.masks;
    const auto check = [&] { run.check(); };
    const auto keep_sorted = [&](std::vector<int64_t> kept) {
        std::sort(kept.begin(), kept.end());
        set = std::move(set).select(kept);
    };
    if (o.min_area_frac > 0) {
        const double least = o.min_area_frac * static_cast<double>(set.size().area());
        std::vector<int64_t> kept;
        for (std::size_t i = 0; i < set.masks().size(); ++i) {
            if (static_cast<double>(set.masks()[i].area) >= least)
                kept.push_back(static_cast<int64_t>(i));
        }
        keep_sorted(std::move(kept));
    }
    if (o.mask_iou_thresh)
        keep_sorted(mask_nms(set, order_by_score(set), *o.mask_iou_thresh, check));
    const ContainmentThresholds thresholds{
        .same_crop = o.containment_thresh,
        .across_crops = std::min(o.containment_thresh, o.crop_containment_thresh)};
    if (thresholds.across_crops < 1.0)
        keep_sorted(containment(set, order_by_score(set), thresholds, check));
    if (o.max_masks && static_cast<int64_t>(set.masks().size()) > *o.max_masks) {
        std::vector<int64_t> order = order_by_score(set);
        order.resize(static_cast<std::size_t>(*o.max_masks));
        keep_sorted(std::move(order));
    }
}

Everything finish(Generation& run, const CropPlan& crops) {
    const EverythingOptions& o = run.options;
    MaskSet& set = run.masks;
    const Stopwatch filter;
    if (crops.boxes.size() > 1) {  // smaller crops get higher scores, so NMS prefers their masks
        std::vector<float> scores;
        for (const Mask& m : set.masks()) {
            const auto area = static_cast<float>((m.crop_box.x1 - m.crop_box.x0) *
                                                 (m.crop_box.y1 - m.crop_box.y0));
            scores.push_back(1.0F / area);
        }
        run_in_worker(run.schedule, [&] {
            set = std::move(set).select(kept_by_box_nms(run, set, scores, o.crop_nms_thresh));
        });
    }
    if (o.min_mask_region_area > 0 && !set.masks().empty()) {
        postprocess_small_regions(set, o.min_mask_region_area, o.region_connectivity,
                                  std::max(o.box_nms_thresh, o.crop_nms_thresh), run.schedule);
    }
    run_in_worker(run.schedule, [&] { thin(run); });
    run.stats.add("filter", filter.seconds());
    run.stats.seconds["total"] = run.watch.seconds();
    run.stats.peak_memory_mb = peak_resident_mb();
    run.kept = static_cast<int64_t>(set.masks().size());
    run.tell_now();
    return {std::move(set), std::move(run.stats)};
}

// The end of the crops, from `first` on, that are encoded together: on a device some of a layer.
std::size_t end_of_group(const Segmenter& segmenter, const CropPlan& crops, std::size_t first) {
    const auto most = static_cast<std::size_t>(segmenter.model().batched() ? kMostImages : 1);
    std::size_t end = first;
    while (end < crops.boxes.size() && end - first < most &&
           crops.layers[end] == crops.layers[first])
        ++end;
    return end;
}

// Runs `body`, which adds masks to run.masks, and filters them. If an exception ends this, the
// masks found so far go to call.partial.
template <class Body>
Everything generate(Generation& run, const CropPlan& crops, const Body& body) {
    try {
        body();
        return finish(run, crops);
    } catch (...) {
        const auto stop = std::current_exception();
        try {
            if (run.call.partial) run.call.partial(std::move(run.masks));
        } catch (...) {  // dropped: the caller must see the exception that ended the call
        }
        std::rethrow_exception(stop);
    }
}

}  // namespace

Everything segment_everything(const Segmenter& segmenter, ImageView image,
                              const EverythingCall& call) {
    call.options.check();
    Generation run(segmenter, call, image.size);
    const auto [crops, grids, total] =
        plan_points(call.options, image.size, segmenter.working_scale());
    run.total = total;
    return generate(run, crops, [&] {
        int64_t first_prompt = 0;
        for (std::size_t first = 0; first < crops.boxes.size();) {
            const std::size_t end = end_of_group(segmenter, crops, first);
            run.begin("encode");
            std::vector<Embedding> encoded =
                segmenter.encode_crops(image,
                                       {crops.boxes.begin() + static_cast<std::ptrdiff_t>(first),
                                        crops.boxes.begin() + static_cast<std::ptrdiff_t>(end)},
                                       run.schedule, &run.stats);
            for (Embedding& kept : encoded) {
                const Embedding crop = std::exchange(kept, {});  // its memory goes after decoding
                const auto& grid = grids[static_cast<std::size_t>(crops.layers[first++])];
                decode_crop(run, crop, grid, first_prompt);
                first_prompt += static_cast<int64_t>(grid.size());
            }
        }
    });
}

Everything segment_everything(const Segmenter& segmenter, const Embedding& embedding,
                              const EverythingCall& call) {
    call.options.check();
    segmenter.check_embedding(embedding);
    const PointPlan plan = plan_points(call.options, embedding.image(), segmenter.working_scale());
    if (plan.crops.boxes.size() > 1) {
        invalid(
            "everything: crop_n_layers needs the image, not its embedding (each crop is encoded on "
            "its own)");
    }
    Generation run(segmenter, call, embedding.image());
    run.total = plan.total;
    const Embedding own = segmenter.prepared(embedding, run.schedule);
    return generate(run, plan.crops, [&] { decode_crop(run, own, plan.grids.front(), 0); });
}

}  // namespace segrid
