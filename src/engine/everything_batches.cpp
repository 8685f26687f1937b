// "Segment everything" on a device: applies the filters in the order of everything_workers.cpp, but
// to batches of points. Only numbers (scores, areas, boxes) are copied from the device before box
// NMS; the runs of the masks that it keeps are copied once, after it.
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <map>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "core/trace.h"
#include "engine/batches.h"
#include "engine/generation.h"
#include "kernels/transfer/op.h"

namespace segrid {
namespace {

// Where the runs of a candidate are stored: in rows [first, first + count) of a tensor. tensor is
// -1 if the runs were dropped to save memory.
struct Place {
    int64_t number = 0;  // index of the mask among its prompt's masks
    int64_t tensor = -1, first = 0, count = 0;
};

// The candidates found so far, in the order of their prompts.
struct Candidates {
    std::vector<Mask> masks;
    std::vector<Place> places;
    std::vector<at::Tensor> runs;

    // Copies the runs of candidate which[k] to set[k], with one copy per tensor. Candidates without
    // runs are left alone.
    void fetch(const std::vector<int64_t>& which, std::vector<Mask>& set) const {
        struct Arriving {
            Download runs;
            std::vector<int64_t> counts;
            std::vector<std::size_t> targets;
        };
        std::optional<Arriving> before;  // one is copied while the next one is put together
        const auto keep_before = [&] {
            if (!before) return;
            std::vector<Runs> fetched = collect_runs(before->runs.arrived(), before->counts);
            for (std::size_t n = 0; n < before->targets.size(); ++n)
                set[before->targets[n]].runs = std::move(fetched[n]);
            before.reset();
        };
        for (std::size_t t = 0; t < runs.size(); ++t) {
            std::vector<at::Tensor> parts;
            std::vector<int64_t> counts;
            std::vector<std::size_t> targets;
            for (std::size_t k = 0; k < which.size(); ++k) {
                const Place& p = places[static_cast<std::size_t>(which[k])];
                if (p.tensor != static_cast<int64_t>(t) || p.count == 0) continue;
                parts.push_back(runs[t].narrow(0, p.first, p.count));
                counts.push_back(p.count);
                targets.push_back(k);
            }
            if (parts.empty()) continue;
            Arriving now{Download(at::cat(parts)), std::move(counts), std::move(targets)};
            keep_before();
            before.emplace(std::move(now));
        }
        keep_before();
    }
};

class CropBatches {
public:
    CropBatches(Generation& run, const Embedding& crop, const std::vector<ImagePoint>& grid,
                int64_t first_prompt)
        : run_(run),
          crop_(crop),
          grid_(grid),
          first_prompt_(first_prompt),
          model_(run.segmenter.model()),
          budget_(model_,
                  run.options.use_m2m && run.options.multimask ? model_.multimask_outputs() : 1,
                  0) {
        run_on_devices(run.schedule, [&] { way_.emplace(model_, crop, run.mask_rules()); });
    }

    // Decodes all points of the grid and keeps the candidates that pass the filters.
    void decode() {
        budget_.over(static_cast<int64_t>(grid_.size()), run_.schedule, run_.stats,
                     [&](int64_t first, int64_t count) {
                         std::vector<int64_t> points(static_cast<std::size_t>(count));
                         std::iota(points.begin(), points.end(), first);
                         find(points);
                         run_.done += count;
                     });
    }

    const Candidates& found() const { return found_; }

    // Decodes again, in batches, the masks of the set (candidates `kept`) whose runs were dropped.
    // They are kept even if the filters would now reject them, because a batch of another size may
    // round differently.
    void restore_runs(const std::vector<int64_t>& kept, MaskSet& set) {
        std::map<int64_t, std::map<int64_t, Mask*>> wanted;  // by point and number
        for (std::size_t k = 0; k < kept.size(); ++k) {
            const Place& p = found_.places[static_cast<std::size_t>(kept[k])];
            Mask& mask = set.masks()[k];
            if (p.tensor < 0) wanted[mask.prompt - first_prompt_][p.number] = &mask;
        }
        std::vector<int64_t> points;
        for (const auto& [point, masks] : wanted) points.push_back(point);
        budget_.over(static_cast<int64_t>(points.size()), run_.schedule, run_.stats,
                     [&](int64_t first, int64_t count) {
                         restore_batch({points.begin() + first, points.begin() + first + count},
                                       wanted);
                     });
        for (const auto& [point, masks] : wanted) {
            for (const auto& [number, mask] : masks) {
                if (runs_given_up(*mask))
                    internal("everything: a candidate was decoded again, but no mask came out");
            }
        }
    }

private:
    // Some points: their prompts, and the origins of their masks.
    struct Points {
        std::vector<Prompt> prompts;
        std::vector<MaskOrigin> origins;
    };
    Points points_of(const std::vector<int64_t>& indices) const {
        Points points;
        for (const int64_t i : indices) {
            points.prompts.push_back(prompt_of(crop_, grid_[static_cast<std::size_t>(i)]));
            points.origins.push_back(origin_of(points.prompts.back(), first_prompt_ + i));
        }
        return points;
    }

    // Decodes some points, and applies the filters in their order, up to the one at the crop's
    // edge.
    void find(const std::vector<int64_t>& indices) {
        const Points points = points_of(indices);
        Stopwatch watch;
        Span span("decode", indices.front());
        DecodedBatch batch = decoded(points, run_.request());
        keep_if(batch, [&](const BatchMask& m) { return passes_iou(run_.options, m.iou); });
        run_.stats.add("decode", watch.seconds());
        watch = {};
        // On CUDA this also measures the end of decoding, which continues after the scores have
        // arrived.
        span.next("scan");
        PromptMaskBatches::Scanned scanned = way_->scan(
            batch, points.origins, budget_.scan_bytes(),
            [&](std::size_t, const Mask& m) { return passes_scan(run_.options, crop_, m); });
        keep(batch, scanned);
        run_.stats.add("scan", watch.seconds());
    }

    void restore_batch(const std::vector<int64_t>& indices,
                       const std::map<int64_t, std::map<int64_t, Mask*>>& wanted) const {
        const Points points = points_of(indices);
        DecodedBatch batch = decoded(points, {.multimask = run_.options.multimask});
        const auto mask_of = [&](const BatchMask& m) -> Mask* {
            const auto& of_point = wanted.at(indices[static_cast<std::size_t>(m.prompt)]);
            const auto place = of_point.find(m.number);
            return place == of_point.end() ? nullptr : place->second;
        };
        keep_if(batch, [&](const BatchMask& m) { return mask_of(m) != nullptr; });
        PromptMaskBatches::Scanned scanned =
            way_->scan(batch, points.origins, budget_.scan_bytes(),
                       [](std::size_t, const Mask&) { return true; });
        std::vector<Runs> runs = collect_runs(at::cat(scanned.found.runs), scanned.found.counts);
        for (std::size_t i = 0; i < batch.masks.size(); ++i) {
            Mask& mask = *mask_of(batch.masks[i]);
            mask.box = scanned.masks[i].box;
            mask.area = scanned.masks[i].area;
            mask.stability = scanned.masks[i].stability;
            mask.runs = std::move(runs[i]);
        }
    }

    DecodedBatch decoded(const Points& points, const DecodeRequest& request) const {
        DecodedBatch batch = way_->decode(points.prompts, request);
        if (run_.options.use_m2m) way_->refine(points.prompts, batch);
        return batch;
    }

    // Adds a batch to the candidates. Called only when this batch can no longer run out of memory.
    void keep(const DecodedBatch& batch, PromptMaskBatches::Scanned& scanned) {
        const BatchScan::Found& found = scanned.found;
        std::size_t next = 0;  // index into found.wanted
        for (const at::Tensor& runs : found.runs) {
            const auto bytes = static_cast<int64_t>(runs.nbytes());
            const bool fits = run_.options.box_nms_thresh >= 1 ||
                              run_.held + bytes <= run_.options.candidate_memory;
            if (fits) {
                run_.held += bytes;
                found_.runs.push_back(runs);
            }
            for (int64_t row = 0;
                 row < runs.size(0) || (next < found.wanted.size() && found.counts[next] == 0);
                 ++next) {
                const auto i = static_cast<std::size_t>(found.wanted[next]);
                const int64_t count = found.counts[next];
                found_.masks.push_back(std::move(scanned.masks[i]));
                found_.places.push_back({batch.masks[i].number,
                                         fits ? static_cast<int64_t>(found_.runs.size()) - 1 : -1,
                                         row, count});
                row += count;
                ++run_.kept;
            }
        }
    }

    template <class Wanted>
    void keep_if(DecodedBatch& batch, const Wanted& wanted) const {
        std::vector<int64_t> kept;
        std::vector<BatchMask> masks;
        for (std::size_t i = 0; i < batch.masks.size(); ++i) {
            if (!wanted(batch.masks[i])) continue;
            kept.push_back(static_cast<int64_t>(i));
            masks.push_back(batch.masks[i]);
        }
        if (kept.size() < batch.masks.size())
            batch.logits = batch.logits.index_select(0, on_device(kept, model_.device()));
        batch.masks = std::move(masks);
    }

    Generation& run_;
    const Embedding& crop_;
    const std::vector<ImagePoint>& grid_;
    int64_t first_prompt_;
    const SegmentationModel& model_;
    DeviceBudget budget_;
    std::optional<PromptMaskBatches> way_;
    Candidates found_;
};

}  // namespace

void decode_crop_by_batches(Generation& run, const Embedding& crop,
                            const std::vector<ImagePoint>& grid, int64_t first_prompt) {
    run.held = 0;
    CropBatches batches(run, crop, grid, first_prompt);
    const Candidates& found = batches.found();
    MaskSet set(crop.frame.crop());
    std::vector<int64_t> kept;
    try {
        batches.decode();
        run.begin("filter");
        const Stopwatch watch;
        run_on_devices(run.schedule, [&] {
            const Span span("box nms");
            set.masks() = found.masks;
            kept = kept_by_box_nms(run, set, predicted_iou(set), run.options.box_nms_thresh);
            set = std::move(set).select(kept);
            found.fetch(kept, set.masks());
        });
        batches.restore_runs(kept, set);
        run_in_worker(run.schedule, [&] { append_masks(run, crop, set); });
        run.stats.add("filter", watch.seconds());
    } catch (...) {  // the caller gets the candidates found so far, before NMS
        set.masks() = found.masks;
        kept.resize(found.masks.size());
        std::iota(kept.begin(), kept.end(), 0);
        run_on_devices({}, [&] { found.fetch(kept, set.masks()); });
        std::erase_if(set.masks(), runs_given_up);
        append_masks(run, crop, set);
        throw;
    }
}

}  // namespace segrid
