// "Segment everything" on a device: the same filters in the same order as in everything.cpp, over batches. What comes back before the end are numbers (scores,
// areas, boxes); the masks themselves are copied once, when box NMS has chosen among them.
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>

#include <numeric>

#include "core/trace.h"
#include "engine/batches.h"
#include "engine/generation.h"
#include "kernels/mask_scan/batch.h"
#include "masks/regions.h"

namespace segrid {
namespace {

// Where a candidate's runs lie: rows of one of the tensors; in none where they were given up for memory.
struct Place {
    int64_t number = 0;  // of the mask among its prompt's
    int64_t tensor = -1, first = 0, count = 0;
};

// What was found so far, in the order of the prompts.
struct Candidates {
    std::vector<Mask> masks;
    std::vector<Place> places;
    std::vector<at::Tensor> runs;

    // The one copy back; no runs for those that were given up.
    std::vector<Runs> fetch(const std::vector<int64_t>& which) const {
        std::vector<at::Tensor> parts;
        std::vector<int64_t> counts;
        for (const int64_t i : which) {
            const Place& p = places[static_cast<std::size_t>(i)];
            counts.push_back(p.tensor >= 0 ? p.count : 0);
            if (counts.back() > 0) parts.push_back(runs[static_cast<std::size_t>(p.tensor)].narrow(0, p.first, p.count));
        }
        return parts.empty() ? std::vector<Runs>(which.size()) : collect_runs(at::cat(parts), counts);
    }
};

class CropBatches {
public:
    CropBatches(Generation& run, const Embedding& crop, const std::vector<ImagePoint>& grid, int64_t first_prompt)
        : run_(run), crop_(crop), grid_(grid), first_prompt_(first_prompt), model_(run.segmenter.model()),
          budget_(model_, run.options.use_m2m && run.options.multimask ? model_.multimask_outputs() : 1, 0) {
        run_in_worker(run.schedule, [&] { scan_.emplace(scan_plan(model_, crop.frame), model_.device()); });
    }

    // Of points of the grid, by their indices. all: whatever memory their runs take.
    Candidates decode(const std::vector<int64_t>& points, bool all) {
        Candidates found;
        budget_.over(static_cast<int64_t>(points.size()), run_.schedule, run_.stats, [&](int64_t first, int64_t count) {
            const c10::InferenceMode inference;
            add(std::vector<int64_t>(points.begin() + first, points.begin() + first + count), all, found);
            if (!all) run_.done += count;
        });
        return found;
    }

private:
    void add(const std::vector<int64_t>& points, bool all, Candidates& found) {
        const EverythingOptions& o = run_.options;
        std::vector<ModelPrompt> prompts;
        for (const int64_t p : points) {
            prompts.push_back(to_model(Prompt{.points = {point(p)}, .labels = {1}, .box = {}, .mask_hint = nullptr}, crop_.frame));
        }
        const bool filtered = o.pred_iou_thresh > 0;
        DecodeRequest request{.multimask = o.multimask};
        if (filtered && !o.use_m2m) request.iou_above = static_cast<float>(o.pred_iou_thresh);
        Stopwatch watch;
        Span span("decode", points.front());
        DecodedBatch batch = model_.decode_batch(*crop_.context, prompts, request);
        if (o.use_m2m) refine(prompts, batch);
        if (filtered) drop_below(static_cast<float>(o.pred_iou_thresh), batch);
        fill(batch);
        run_.stats.add("decode", watch.seconds());
        watch = {};
        span.next("scan");

        std::vector<std::optional<Mask>> masks(batch.masks.size());
        const BatchScan::Found scanned = (*scan_)(batch.logits, static_cast<float>(o.mask_threshold), static_cast<float>(o.stability_score_offset), budget_.scan_bytes(),
                                                  [&](int64_t i, const ScanResult& result) {
            const BatchMask& m = batch.masks[static_cast<std::size_t>(i)];
            const int64_t p = points[static_cast<std::size_t>(m.prompt)];
            auto& mask = masks[static_cast<std::size_t>(i)];
            mask = candidate(run_, crop_, result, m.iou, first_prompt_ + p, point(p));
            return mask.has_value();
        });
        keep(batch, scanned, masks, all, found);
        run_.stats.add("scan", watch.seconds());
    }

    // Only now, when nothing of this batch can fail for memory any more.
    void keep(const DecodedBatch& batch, const BatchScan::Found& scanned, std::vector<std::optional<Mask>>& masks, bool all, Candidates& found) {
        std::size_t next = 0;  // among the masks that were wanted
        for (const at::Tensor& runs : scanned.runs) {
            const auto bytes = static_cast<int64_t>(runs.nbytes());
            const bool fits = all || run_.options.box_nms_thresh >= 1 || run_.held + bytes <= run_.options.candidate_memory;
            if (fits) {
                run_.held += bytes;
                found.runs.push_back(runs);
            }
            for (int64_t row = 0; row < runs.size(0) || (next < scanned.wanted.size() && scanned.counts[next] == 0); ++next) {
                const auto i = static_cast<std::size_t>(scanned.wanted[next]);
                const int64_t count = scanned.counts[next];
                found.masks.push_back(std::move(*masks[i]));
                found.places.push_back({batch.masks[i].number, fits ? static_cast<int64_t>(found.runs.size()) - 1 : -1, row, count});
                row += count;
                ++run_.kept;
            }
        }
    }

    // sam2's one step of refinement: each mask is asked for once more with its own logits as hint.
    void refine(const std::vector<ModelPrompt>& prompts, DecodedBatch& batch) const {
        std::vector<ModelPrompt> again;
        for (const BatchMask& m : batch.masks) again.push_back(prompts[static_cast<std::size_t>(m.prompt)]);
        const DecodedBatch refined = model_.decode_batch(*crop_.context, again, {}, batch.logits.clamp(-32.0, 32.0));
        for (std::size_t i = 0; i < batch.masks.size(); ++i) batch.masks[i].iou = refined.masks[i].iou;
        batch.logits = refined.logits;
    }

    void drop_below(float threshold, DecodedBatch& batch) const {
        std::vector<int64_t> above;
        for (std::size_t i = 0; i < batch.masks.size(); ++i) {
            if (batch.masks[i].iou > threshold) above.push_back(static_cast<int64_t>(i));
        }
        if (above.size() == batch.masks.size()) return;
        batch.logits = batch.logits.index_select(0, at::tensor(above, at::kLong).to(model_.device()));
        std::vector<BatchMask> kept;
        for (const int64_t i : above) kept.push_back(batch.masks[static_cast<std::size_t>(i)]);
        batch.masks = std::move(kept);
    }

    // Connected components are looked for on the CPU.
    void fill(DecodedBatch& batch) const {
        const RegionFilling filling{run_.options.max_hole_area, run_.options.max_sprinkle_area};
        if (filling.max_hole_area <= 0 && filling.max_sprinkle_area <= 0) return;
        at::Tensor host = batch.logits.to(at::kCPU).clone();
        const Size low = model_.low_res();
        for (int64_t i = 0; i < host.size(0); ++i) fill_small_regions(host.mutable_data_ptr<float>() + i * low.area(), low, filling);
        batch.logits = host.to(model_.device());
    }

    ImagePoint point(int64_t index) const { return point_in(crop_, grid_[static_cast<std::size_t>(index)]); }

    Generation& run_;
    const Embedding& crop_;
    const std::vector<ImagePoint>& grid_;
    int64_t first_prompt_;
    const SegmentationModel& model_;
    DeviceBudget budget_;
    std::optional<BatchScan> scan_;
};

// Decodes the survivors again whose runs were given up.
void remember(CropBatches& batches, const Candidates& found, const std::vector<int64_t>& kept, int64_t first_prompt, const Schedule& schedule, MaskSet& set) {
    std::vector<int64_t> points;
    for (const int64_t i : kept) {
        const int64_t point = found.masks[static_cast<std::size_t>(i)].prompt - first_prompt;
        if (found.places[static_cast<std::size_t>(i)].tensor < 0 && (points.empty() || std::find(points.begin(), points.end(), point) == points.end())) points.push_back(point);
    }
    if (points.empty()) return;
    std::sort(points.begin(), points.end());
    const Candidates again = batches.decode(points, true);
    std::vector<int64_t> wanted, places;  // in `again`, and where they go in the set
    for (std::size_t k = 0; k < kept.size(); ++k) {
        const auto i = static_cast<std::size_t>(kept[k]);
        if (found.places[i].tensor >= 0) continue;
        for (std::size_t j = 0; j < again.masks.size(); ++j) {
            if (again.masks[j].prompt != found.masks[i].prompt || again.places[j].number != found.places[i].number) continue;
            wanted.push_back(static_cast<int64_t>(j));
            places.push_back(static_cast<int64_t>(k));
        }
    }
    run_in_worker(schedule, [&] {
        std::vector<Runs> runs = again.fetch(wanted);
        for (std::size_t n = 0; n < runs.size(); ++n) {
            Mask& mask = set.masks()[static_cast<std::size_t>(places[n])];
            const Mask& made = again.masks[static_cast<std::size_t>(wanted[n])];
            mask.runs = std::move(runs[n]);
            mask.area = made.area;  // a batch of another size may round otherwise
            mask.box = made.box;
            mask.stability = made.stability;
        }
    });
}

}  // namespace

void decode_crop_by_batches(Generation& run, const Embedding& crop, const std::vector<ImagePoint>& grid, int64_t first_prompt) {
    run.held = 0;
    CropBatches batches(run, crop, grid, first_prompt);
    std::vector<int64_t> points(grid.size());
    std::iota(points.begin(), points.end(), 0);
    const Candidates found = batches.decode(points, false);
    run.stage = "filter";
    run.tell(true);
    const Stopwatch watch;
    MaskSet set(crop.frame.crop());
    std::vector<int64_t> kept;
    run_in_worker(run.schedule, [&] {
        const Span span("box nms");
        set.masks() = found.masks;
        kept = kept_by_box_nms(run, set, predicted_iou(set), run.options.box_nms_thresh);
        set = std::move(set).select(kept);
        std::vector<Runs> runs = found.fetch(kept);
        for (std::size_t k = 0; k < kept.size(); ++k) set.masks()[k].runs = std::move(runs[k]);
    });
    remember(batches, found, kept, first_prompt, run.schedule, set);
    run_in_worker(run.schedule, [&] { append_masks(run, crop, set); });
    run.stats.add("filter", watch.seconds());
}

}  // namespace segrid
