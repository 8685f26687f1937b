#include "engine/everything.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/trace.h"
#include "engine/generation.h"
#include "kernels/mask_scan/op.h"
#include "kernels/nms/op.h"
#include "masks/dedupe.h"
#include "masks/filter.h"
#include "masks/regions.h"

namespace segrid {
namespace {

std::vector<int64_t> order_by_score(const MaskSet& set) {
    std::vector<int64_t> order(set.masks().size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return set.masks()[static_cast<std::size_t>(a)].score >
               set.masks()[static_cast<std::size_t>(b)].score;
    });
    return order;
}

}  // namespace

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

ImagePoint point_in(const Embedding& crop, const ImagePoint& g) {
    const Size size = crop.frame.crop();
    const ImageBox box = crop.frame.crop_box();
    return {box.x0 + g.x * static_cast<double>(size.width),
            box.y0 + g.y * static_cast<double>(size.height)};
}

void place(Mask& mask, const Embedding& crop, const ScanResult& r) {
    const ImageBox box = crop.frame.crop_box();
    mask.box = {static_cast<double>(r.x0) + box.x0, static_cast<double>(r.y0) + box.y0,
                static_cast<double>(r.x1) + box.x0, static_cast<double>(r.y1) + box.y0};
    mask.area = r.area;
    mask.stability = r.stability;
}

std::optional<Mask> candidate(const Generation& run, const Embedding& crop, const ScanResult& r,
                              float iou, int64_t prompt, ImagePoint point) {
    const EverythingOptions& o = run.options;
    if (o.stability_score_thresh > 0 &&
        !(r.stability >= static_cast<float>(o.stability_score_thresh)))
        return {};
    const ImageBox box = crop.frame.crop_box();
    Mask mask;
    place(mask, crop, r);
    if (near_crop_edge(mask.box, box, crop.image())) return {};
    mask.score = iou;
    mask.point = point;
    mask.prompt = prompt;
    mask.crop_box = box;
    return mask;
}

// To image coordinates, behind run.masks.
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

namespace {

// sam2's one step of refinement: each mask is asked for once more with its own logits as hint.
void refine(Generation& run, const Embedding& crop, const ModelPrompt& prompt,
            std::vector<DecodedMask>& masks, Arena& arena) {
    const int64_t pixels = run.segmenter.model().low_res().area();
    for (DecodedMask& mask : masks) {
        float* hint = arena.take<float>(pixels);
        for (int64_t i = 0; i < pixels; ++i)
            hint[i] = std::clamp(mask.logits[i], -kHintLimit, kHintLimit);
        ModelPrompt again = prompt;
        again.mask_hint = hint;
        mask = run.segmenter.model().decode(*crop.context, again, {}, run.schedule, arena).front();
    }
}

// One point of the grid: decode, drop by predicted IoU before pixels, scan, drop by stability and
// by the crop's edge. all: with their runs, whatever memory that takes.
std::vector<Mask> masks_of_point(Generation& run, const Embedding& crop, const ScanPlan& plan,
                                 ImagePoint point, int64_t prompt_index, bool all, Arena& arena) {
    const EverythingOptions& o = run.options;
    const ModelPrompt prompt = to_model(
        Prompt{.points = {point}, .labels = {1}, .box = {}, .mask_hint = nullptr}, crop.frame);
    DecodeRequest request{.multimask = o.multimask};
    const bool filtered = o.pred_iou_thresh > 0;
    if (filtered && !o.use_m2m) request.iou_above = static_cast<float>(o.pred_iou_thresh);
    Stopwatch watch;
    Span span("decode", prompt_index);
    auto decoded =
        run.segmenter.model().decode(*crop.context, prompt, request, run.schedule, arena);
    if (o.use_m2m) refine(run, crop, prompt, decoded, arena);
    run.decode_ns += static_cast<int64_t>(watch.seconds() * 1e9);
    watch = {};
    span.next("scan");
    std::vector<Mask> masks;
    thread_local Runs runs;  // grows once per worker; survivors get a copy of just their size
    for (const DecodedMask& d : decoded) {
        if (d.logits == nullptr || (filtered && !(d.iou > static_cast<float>(o.pred_iou_thresh))))
            continue;
        ScanResult r;
        const float* logits = filled(d.logits, run.segmenter.model().low_res(),
                                     {o.max_hole_area, o.max_sprinkle_area}, arena);
        scan(logits, plan, static_cast<float>(o.mask_threshold),
             static_cast<float>(o.stability_score_offset), r, &runs, arena);
        std::optional<Mask> mask = candidate(run, crop, r, d.iou, prompt_index, point);
        if (!mask) continue;
        const auto bytes = static_cast<int64_t>(runs.size() * sizeof(Run));
        const bool fits = all || o.box_nms_thresh >= 1 || (run.held += bytes) <= o.candidate_memory;
        if (fits) mask->runs = Runs(runs.begin(), runs.end());
        else run.held -= bytes;
        masks.push_back(std::move(*mask));
    }
    run.scan_ns += static_cast<int64_t>(watch.seconds() * 1e9);
    return masks;
}

// What was found for each point of a crop, in the order of the points.
void collect(std::vector<std::vector<Mask>>& found, MaskSet& set) {
    for (auto& masks : found)
        std::move(masks.begin(), masks.end(), std::back_inserter(set.masks()));
    found.clear();
}

// Decodes the survivors again whose runs were given up.
void remember(Generation& run, const Embedding& crop, const ScanPlan& plan, MaskSet& set) {
    std::map<int64_t, std::vector<Mask*>> by_prompt;
    for (Mask& m : set.masks()) {
        if (forgotten(m)) by_prompt[m.prompt].push_back(&m);
    }
    const std::vector<std::pair<int64_t, std::vector<Mask*>>> prompts(by_prompt.begin(),
                                                                      by_prompt.end());
    parallel_for(
        static_cast<int64_t>(prompts.size()), run.schedule, [&](int64_t i, Worker& worker) {
            const auto& [prompt, wanted] = prompts[static_cast<std::size_t>(i)];
            std::vector<Mask> again =
                masks_of_point(run, crop, plan, wanted.front()->point, prompt, true, worker.arena);
            for (Mask* m : wanted) {
                for (Mask& made : again) {
                    if (made.score != m->score || made.area != m->area ||
                        made.stability != m->stability || made.runs.empty())
                        continue;
                    m->runs = std::move(made.runs);
                    made.runs.clear();
                    break;
                }
                if (forgotten(*m))
                    internal(
                        "everything: a candidate that was decoded again came out as another one");
            }
        });
}

// All points of one crop.
void decode_crop(Generation& run, const Embedding& crop, const std::vector<ImagePoint>& grid,
                 int64_t first_prompt) {
    run.stage = "decode";
    run.tell(true);
    if (run.segmenter.model().batched())
        return decode_crop_by_batches(run, crop, grid, first_prompt);
    const ScanPlan plan = scan_plan(run.segmenter.model(), crop.frame);
    std::vector<std::vector<Mask>> found(grid.size());
    MaskSet set(crop.frame.crop());
    run.held = 0;
    const Stopwatch watch;
    const int64_t decode_before = run.decode_ns, scan_before = run.scan_ns;
    try {
        parallel_for(
            static_cast<int64_t>(grid.size()), run.schedule, [&](int64_t i, Worker& worker) {
                const ImagePoint point = point_in(crop, grid[static_cast<std::size_t>(i)]);
                auto& masks = found[static_cast<std::size_t>(i)];
                masks =
                    masks_of_point(run, crop, plan, point, first_prompt + i, false, worker.arena);
                run.kept += static_cast<int64_t>(masks.size());
                ++run.done;
            });
        run.stage = "filter";
        run.tell(true);
        double filter = 0;
        run_in_worker(run.schedule, [&] {
            const Stopwatch own;
            const Span span("box nms");
            collect(found, set);
            set = std::move(set).select(
                kept_by_box_nms(run, set, predicted_iou(set), run.options.box_nms_thresh));
            filter = own.seconds();
        });
        remember(run, crop, plan, set);
        run_in_worker(run.schedule, [&] {
            const Stopwatch own;
            append_masks(run, crop, set);
            filter += own.seconds();
        });
        // Wall-clock time, shared out by what the workers spent.
        const double decode = static_cast<double>(run.decode_ns - decode_before),
                     scanned = static_cast<double>(run.scan_ns - scan_before);
        const double both = watch.seconds() - filter;
        run.stats.add("filter", filter);
        run.stats.add("decode", both * decode / std::max(1.0, decode + scanned));
        run.stats.add("scan", both * scanned / std::max(1.0, decode + scanned));
    } catch (...) {  // all tasks have ended; what is there goes on, unthinned
        collect(found, set);
        std::erase_if(set.masks(), forgotten);
        append_masks(run, crop, set);
        throw;
    }
}

// What segrid adds to segment-anything's filters, in the order of the signature.
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
        .within = o.containment_thresh,
        .across_crops = std::min(o.containment_thresh, o.crop_containment_thresh)};
    if (thresholds.across_crops < 1.0)
        keep_sorted(containment(set, order_by_score(set), thresholds, check));
    if (o.max_masks && static_cast<int64_t>(set.masks().size()) > *o.max_masks) {
        std::vector<int64_t> order = order_by_score(set);
        order.resize(static_cast<std::size_t>(*o.max_masks));
        keep_sorted(std::move(order));
    }
}

Everything finish(Generation& run, bool crops) {
    const EverythingOptions& o = run.options;
    MaskSet& set = run.masks;
    const Stopwatch filter;
    if (crops) {  // masks from smaller crops come first
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
    run.tell(true);
    return {std::move(set), std::move(run.stats)};
}

// Runs `body`, which adds to run.masks. When it is stopped, what is there goes to call.partial.
template <class Body>
Everything generate(Generation& run, bool crops, const Body& body) {
    try {
        body();
        return finish(run, crops);
    } catch (...) {
        const auto stop = std::current_exception();
        try {
            if (run.call.partial) run.call.partial(std::move(run.masks));
        } catch (...) {  // the reason to stop is what the caller must see
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
    return generate(run, crops.boxes.size() > 1, [&] {
        int64_t first_prompt = 0;
        for (std::size_t c = 0; c < crops.boxes.size(); ++c) {
            run.stage = "encode";
            run.tell(true);
            const Embedding crop =
                segmenter.encode_crop(image, crops.boxes[c], run.schedule, &run.stats);
            const auto& grid = grids[static_cast<std::size_t>(crops.layers[c])];
            decode_crop(run, crop, grid, first_prompt);
            first_prompt += static_cast<int64_t>(grid.size());
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
    return generate(run, false, [&] { decode_crop(run, own, plan.grids.front(), 0); });
}

}  // namespace segrid
