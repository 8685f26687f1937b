// "Segment everything" on a device: the same filters in the same order as in everything.cpp, over
// batches. What comes back before the end are numbers (scores, areas, boxes); the masks themselves
// are copied once, when box NMS has chosen among them.
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <map>
#include <numeric>

#include "core/trace.h"
#include "engine/batches.h"
#include "engine/generation.h"
#include "kernels/mask_scan/batch.h"

namespace segrid {
namespace {

// Where a candidate's runs lie: rows of one of the tensors; in none where they were given up for
// memory.
struct Place {
    int64_t number = 0;  // of the mask among its prompt's
    int64_t tensor = -1, first = 0, count = 0;
};

// What was found so far, in the order of the prompts.
struct Candidates {
    std::vector<Mask> masks;
    std::vector<Place> places;
    std::vector<at::Tensor> runs;

    // The one copy back, tensor by tensor: to set[k] the runs of candidate which[k]; none where
    // they were given up.
    void fetch(const std::vector<int64_t>& which, std::vector<Mask>& set) const {
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
            std::vector<Runs> fetched = collect_runs(at::cat(parts), counts);
            for (std::size_t n = 0; n < targets.size(); ++n)
                set[targets[n]].runs = std::move(fetched[n]);
        }
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
        run_on_devices(run.schedule,
                       [&] { scan_.emplace(scan_plan(model_, crop.frame), model_.device()); });
    }

    // All points of the grid: what passes the filters.
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

    // Decodes once more those of set (candidates `kept`) whose runs were given up, batch by batch,
    // whatever the filters would say of them this time: a batch of another size may round
    // otherwise.
    void remember(const std::vector<int64_t>& kept, MaskSet& set) {
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
                         const std::vector<int64_t> own(points.begin() + first,
                                                        points.begin() + first + count);
                         DecodedBatch batch = decoded(own, -std::numeric_limits<float>::infinity());
                         const auto mask_of = [&](const BatchMask& m) {
                             const auto& of_point = wanted[own[static_cast<std::size_t>(m.prompt)]];
                             const auto place = of_point.find(m.number);
                             return place == of_point.end() ? nullptr : place->second;
                         };
                         keep_if(batch, [&](const BatchMask& m) { return mask_of(m) != nullptr; });
                         const BatchScan::Found scanned =
                             scan(batch, [](int64_t, const ScanResult&) { return true; });
                         std::vector<Runs> runs =
                             collect_runs(at::cat(scanned.runs), scanned.counts);
                         for (std::size_t i = 0; i < batch.masks.size(); ++i) {
                             Mask& mask = *mask_of(batch.masks[i]);
                             place(mask, crop_, scanned.results[i]);
                             mask.runs = std::move(runs[i]);
                         }
                     });
        for (const auto& [point, masks] : wanted) {
            for (const auto& [number, mask] : masks) {
                if (mask->runs.empty() && mask->area > 0)
                    internal("everything: a candidate that was decoded again did not come");
            }
        }
    }

private:
    // The filters in their order, up to the crop's edge.
    void find(const std::vector<int64_t>& points) {
        const EverythingOptions& o = run_.options;
        const float above = o.pred_iou_thresh > 0 ? static_cast<float>(o.pred_iou_thresh)
                                                  : -std::numeric_limits<float>::infinity();
        Stopwatch watch;
        Span span("decode", points.front());
        DecodedBatch batch = decoded(points, above);
        keep_if(batch, [&](const BatchMask& m) { return m.iou > above; });
        run_.stats.add("decode", watch.seconds());
        watch = {};
        span.next("scan");  // (on CUDA also what is left of decoding: it goes on behind the last
                            // number that came back)
        std::vector<std::optional<Mask>> masks(batch.masks.size());
        const BatchScan::Found scanned = scan(batch, [&](int64_t i, const ScanResult& result) {
            const BatchMask& m = batch.masks[static_cast<std::size_t>(i)];
            const int64_t p = points[static_cast<std::size_t>(m.prompt)];
            auto& mask = masks[static_cast<std::size_t>(i)];
            mask = candidate(run_, crop_, result, m.iou, first_prompt_ + p, point(p));
            return mask.has_value();
        });
        keep(batch, scanned, masks);
        run_.stats.add("scan", watch.seconds());
    }

    DecodedBatch decoded(const std::vector<int64_t>& points, float above) const {
        std::vector<ModelPrompt> prompts;
        for (const int64_t p : points) {
            prompts.push_back(to_model(
                Prompt{.points = {point(p)}, .labels = {1}, .box = {}, .mask_hint = nullptr},
                crop_.frame));
        }
        DecodeRequest request{.multimask = run_.options.multimask};
        if (!run_.options.use_m2m) request.iou_above = above;
        DecodedBatch batch = model_.decode_batch(*crop_.context, prompts, request);
        if (run_.options.use_m2m) refine(prompts, batch);
        return batch;
    }

    BatchScan::Found scan(const DecodedBatch& batch,
                          const std::function<bool(int64_t, const ScanResult&)>& wanted) const {
        const EverythingOptions& o = run_.options;
        const at::Tensor logits =
            filled(batch.logits, model_.low_res(), {o.max_hole_area, o.max_sprinkle_area});
        return (*scan_)(logits, static_cast<float>(o.mask_threshold),
                        static_cast<float>(o.stability_score_offset), budget_.scan_bytes(), wanted);
    }

    // Only now, when nothing of this batch can fail for memory any more.
    void keep(const DecodedBatch& batch, const BatchScan::Found& scanned,
              std::vector<std::optional<Mask>>& masks) {
        std::size_t next = 0;  // among the masks that were wanted
        for (const at::Tensor& runs : scanned.runs) {
            const auto bytes = static_cast<int64_t>(runs.nbytes());
            const bool fits = run_.options.box_nms_thresh >= 1 ||
                              run_.held + bytes <= run_.options.candidate_memory;
            if (fits) {
                run_.held += bytes;
                found_.runs.push_back(runs);
            }
            for (int64_t row = 0;
                 row < runs.size(0) || (next < scanned.wanted.size() && scanned.counts[next] == 0);
                 ++next) {
                const auto i = static_cast<std::size_t>(scanned.wanted[next]);
                const int64_t count = scanned.counts[next];
                found_.masks.push_back(std::move(*masks[i]));
                found_.places.push_back({batch.masks[i].number,
                                         fits ? static_cast<int64_t>(found_.runs.size()) - 1 : -1,
                                         row, count});
                row += count;
                ++run_.kept;
            }
        }
    }

    // sam2's one step of refinement: each mask is asked for once more with its own logits as hint.
    void refine(const std::vector<ModelPrompt>& prompts, DecodedBatch& batch) const {
        std::vector<ModelPrompt> again;
        for (const BatchMask& m : batch.masks)
            again.push_back(prompts[static_cast<std::size_t>(m.prompt)]);
        const DecodedBatch refined = model_.decode_batch(
            *crop_.context, again, {}, batch.logits.clamp(-kHintLimit, kHintLimit));
        for (std::size_t i = 0; i < batch.masks.size(); ++i)
            batch.masks[i].iou = refined.masks[i].iou;
        batch.logits = refined.logits;
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

    ImagePoint point(int64_t index) const {
        return point_in(crop_, grid_[static_cast<std::size_t>(index)]);
    }

    Generation& run_;
    const Embedding& crop_;
    const std::vector<ImagePoint>& grid_;
    int64_t first_prompt_;
    const SegmentationModel& model_;
    DeviceBudget budget_;
    std::optional<BatchScan> scan_;
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
        run.stage = "filter";
        run.tell(true);
        const Stopwatch watch;
        run_on_devices(run.schedule, [&] {
            const Span span("box nms");
            set.masks() = found.masks;
            kept = kept_by_box_nms(run, set, predicted_iou(set), run.options.box_nms_thresh);
            set = std::move(set).select(kept);
            found.fetch(kept, set.masks());
        });
        batches.remember(kept, set);
        run_in_worker(run.schedule, [&] { append_masks(run, crop, set); });
        run.stats.add("filter", watch.seconds());
    } catch (...) {  // what is there goes on, unthinned
        set.masks() = found.masks;
        kept.resize(found.masks.size());
        std::iota(kept.begin(), kept.end(), 0);
        run_on_devices({}, [&] { found.fetch(kept, set.masks()); });
        std::erase_if(set.masks(), forgotten);
        append_masks(run, crop, set);
        throw;
    }
}

}  // namespace segrid
