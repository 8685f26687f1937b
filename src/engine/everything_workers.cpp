// "Segment everything" on workers: one task per point of the grid.
#include <algorithm>
#include <iterator>
#include <map>
#include <optional>

#include "core/error.h"
#include "core/trace.h"
#include "engine/generation.h"

namespace segrid {
namespace {

enum class RunsKept { WhileMemoryLasts, Always };

class CropPoints {
public:
    CropPoints(Generation& run, const Embedding& crop, const std::vector<ImagePoint>& grid,
               int64_t first_prompt)
        : run_(run),
          crop_(crop),
          grid_(grid),
          first_prompt_(first_prompt),
          way_(run.segmenter.model(), crop, run.mask_rules()),
          found_(grid.size()) {}

    // Decodes all points of the grid and keeps the masks that pass the filters.
    void decode() {
        parallel_for(static_cast<int64_t>(grid_.size()), run_.schedule,
                     [&](int64_t i, Worker& worker) {
                         auto& masks = found_[static_cast<std::size_t>(i)];
                         masks = masks_of_point(i, RunsKept::WhileMemoryLasts, worker.arena);
                         run_.kept += static_cast<int64_t>(masks.size());
                         ++run_.done;
                     });
    }

    // Moves the masks found to the end of the set, in the order of the points.
    void collect(MaskSet& set) {
        for (auto& masks : found_)
            std::move(masks.begin(), masks.end(), std::back_inserter(set.masks()));
        found_.clear();
    }

    // Decodes again the masks whose runs were dropped. They get the same bits.
    void restore_runs(MaskSet& set) const {
        std::map<int64_t, std::vector<Mask*>> by_point;
        for (Mask& m : set.masks()) {
            if (runs_given_up(m)) by_point[m.prompt - first_prompt_].push_back(&m);
        }
        const std::vector<std::pair<int64_t, std::vector<Mask*>>> points(by_point.begin(),
                                                                         by_point.end());
        parallel_for(
            static_cast<int64_t>(points.size()), run_.schedule, [&](int64_t i, Worker& worker) {
                const auto& [point, wanted] = points[static_cast<std::size_t>(i)];
                std::vector<Mask> again = masks_of_point(point, RunsKept::Always, worker.arena);
                for (Mask* m : wanted) take_runs(again, *m);
            });
    }

private:
    // Decodes a point, drops masks by predicted IoU before their pixels are computed, scans the
    // others, and drops those that are unstable or cut off by the crop's edge.
    std::vector<Mask> masks_of_point(int64_t index, RunsKept kept, Arena& arena) const {
        const Prompt prompt = prompt_of(crop_, grid_[static_cast<std::size_t>(index)]);
        const MaskOrigin origin = origin_of(prompt, first_prompt_ + index);
        Stopwatch watch;
        Span span("decode", origin.prompt);
        auto decoded = way_.decode(prompt, run_.request(), run_.schedule, arena);
        if (run_.options.use_m2m) way_.refine(prompt, decoded, run_.schedule, arena);
        run_.decode_ns += static_cast<int64_t>(watch.seconds() * 1e9);
        watch = {};
        span.next("scan");
        std::vector<Mask> masks;
        thread_local Runs runs;  // reused by all masks of a worker; masks get copies of exact size
        for (const DecodedMask& d : decoded) {
            if (d.logits == nullptr || !passes_iou(run_.options, d.iou)) continue;
            Mask mask = way_.scan(d, origin, runs, arena);
            if (!passes_scan(run_.options, crop_, mask)) continue;
            if (kept == RunsKept::Always || hold(runs)) mask.runs = Runs(runs.begin(), runs.end());
            masks.push_back(std::move(mask));
        }
        run_.scan_ns += static_cast<int64_t>(watch.seconds() * 1e9);
        return masks;
    }

    // Counts these runs as held if the candidates' memory has room for them; returns whether it
    // has.
    bool hold(const Runs& runs) const {
        const auto bytes = static_cast<int64_t>(runs.size() * sizeof(Run));
        if (run_.options.box_nms_thresh >= 1 ||
            (run_.held += bytes) <= run_.options.candidate_memory)
            return true;
        run_.held -= bytes;
        return false;
    }

    static void take_runs(std::vector<Mask>& again, Mask& mask) {
        for (Mask& made : again) {
            if (made.score != mask.score || made.area != mask.area ||
                made.stability != mask.stability || made.runs.empty())
                continue;
            mask.runs = std::move(made.runs);
            made.runs.clear();
            return;
        }
        internal("everything: a candidate was decoded again and gave another mask");
    }

    Generation& run_;
    const Embedding& crop_;
    const std::vector<ImagePoint>& grid_;
    int64_t first_prompt_;
    PromptMasks way_;
    std::vector<std::vector<Mask>> found_;  // by point
};

}  // namespace

void decode_crop_on_workers(Generation& run, const Embedding& crop,
                            const std::vector<ImagePoint>& grid, int64_t first_prompt) {
    run.held = 0;
    CropPoints points(run, crop, grid, first_prompt);
    MaskSet set(crop.frame.crop());
    const Stopwatch watch;
    const int64_t decode_before = run.decode_ns, scan_before = run.scan_ns;
    try {
        points.decode();
        run.begin("filter");
        double filter = 0;
        run_in_worker(run.schedule, [&] {
            const Stopwatch own;
            const Span span("box nms");
            points.collect(set);
            set = std::move(set).select(
                kept_by_box_nms(run, set, predicted_iou(set), run.options.box_nms_thresh));
            filter = own.seconds();
        });
        points.restore_runs(set);
        run_in_worker(run.schedule, [&] {
            const Stopwatch own;
            append_masks(run, crop, set);
            filter += own.seconds();
        });
        // Wall-clock time, divided in the ratio of the workers' times.
        const double decode = static_cast<double>(run.decode_ns - decode_before),
                     scanned = static_cast<double>(run.scan_ns - scan_before);
        const double both = watch.seconds() - filter;
        run.stats.add("filter", filter);
        run.stats.add("decode", both * decode / std::max(1.0, decode + scanned));
        run.stats.add("scan", both * scanned / std::max(1.0, decode + scanned));
    } catch (...) {  // all tasks have ended; the caller gets the masks found so far, before NMS
        points.collect(set);
        std::erase_if(set.masks(), runs_given_up);
        append_masks(run, crop, set);
        throw;
    }
}

}  // namespace segrid
