#include "engine/everything.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/trace.h"
#include "kernels/mask_scan/op.h"
#include "kernels/nms/op.h"
#include "masks/dedupe.h"
#include "masks/filter.h"
#include "masks/regions.h"
#include "prompts/crops.h"
#include "prompts/grid.h"

namespace segrid {
namespace {

// Everything one call shares: what it counts, and what it tells.
struct Generation {
    Generation(const Segmenter& s, const EverythingCall& c, Size image) : segmenter(s), call(c), options(c.options), masks(image) {
        schedule = s.capped(c.schedule);
        schedule.poll = [this, outer = c.schedule.poll] {
            try {
                if (outer) outer();
                tell(false);
            } catch (...) {
                interrupted = true;
                throw;
            }
        };
    }

    // For long steps that are one task: throws when the call is to stop.
    void check() const {
        if (interrupted) throw Cancelled();
        schedule.cancel.check();
    }

    void tell(bool now) {
        if (!call.progress) return;
        const double elapsed = watch.seconds();
        if (!now && elapsed - told < call.progress_interval) return;
        told = elapsed;
        call.progress({.stage = stage, .done = done, .total = total, .kept = kept, .elapsed = elapsed,
                       .memory_mb = resident_mb()});
    }

    const Segmenter& segmenter;
    const EverythingCall& call;
    const EverythingOptions& options;
    Schedule schedule;
    Stopwatch watch;
    Stats stats;
    std::string stage = "encode";
    std::atomic<int64_t> done{0}, kept{0};
    std::atomic<int64_t> held{0};  // bytes of the candidates' runs in this crop
    std::atomic<bool> interrupted{false};
    int64_t total = 0;
    double told = -1;
    MaskSet masks;  // of the crops so far, in image coordinates
    std::atomic<int64_t> decode_ns{0}, scan_ns{0};  // of all workers
};

std::vector<int64_t> order_by_score(const MaskSet& set) {
    std::vector<int64_t> order(set.masks().size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return set.masks()[static_cast<std::size_t>(a)].score > set.masks()[static_cast<std::size_t>(b)].score;
    });
    return order;
}

// Box NMS over masks, best first by `scores`; the set is left in the order of NMS.
void keep_by_box_nms(const Generation& run, MaskSet& set, const std::vector<float>& scores, double threshold) {
    std::vector<float> boxes;
    boxes.reserve(set.masks().size() * 4);
    for (const Mask& m : set.masks()) {
        for (const double v : {m.box.x0, m.box.y0, m.box.x1, m.box.y1}) boxes.push_back(static_cast<float>(v));
    }
    set = std::move(set).select(box_nms(boxes.data(), scores.data(), static_cast<int64_t>(scores.size()), threshold,
                                      [&] { run.check(); }));
}

std::vector<float> predicted_iou(const MaskSet& set) {
    std::vector<float> scores;
    for (const Mask& m : set.masks()) scores.push_back(m.score);
    return scores;
}

// Whether a mask's runs were given up for memory (an empty mask has none to give up).
bool forgotten(const Mask& m) { return m.runs.empty() && m.area > 0; }

// One point of the grid: decode, drop by predicted IoU before pixels, scan, drop by stability and by the crop's edge. all: with their runs,
// whatever memory that takes.
std::vector<Mask> masks_of_point(Generation& run, const Embedding& crop, const ScanPlan& plan, ImagePoint point, int64_t prompt_index,
                                 bool all, Arena& arena) {
    const EverythingOptions& o = run.options;
    const ModelPrompt prompt = to_model(Prompt{.points = {point}, .labels = {1}, .box = {}, .mask_hint = nullptr}, crop.frame);
    DecodeRequest request{.multimask = true};
    if (o.pred_iou_thresh > 0) request.iou_above = static_cast<float>(o.pred_iou_thresh);
    Stopwatch watch;
    Span span("decode", prompt_index);
    const auto decoded = run.segmenter.model().decode(*crop.context, prompt, request, run.schedule, arena);
    run.decode_ns += static_cast<int64_t>(watch.seconds() * 1e9);
    watch = {};
    span.next("scan");
    std::vector<Mask> masks;
    thread_local Runs runs;  // grows once per worker; survivors get a copy of just their size
    for (const DecodedMask& d : decoded) {
        if (d.logits == nullptr) continue;
        Mask mask;
        ScanResult r;
        scan(d.logits, plan, 0.0F, static_cast<float>(o.stability_score_offset), r, &runs, arena);
        if (o.stability_score_thresh > 0 && !(r.stability >= static_cast<float>(o.stability_score_thresh))) continue;
        const ImageBox box = crop.frame.crop_box();
        // An empty mask's box is zeros in its crop, as in segment-anything.
        mask.box = {static_cast<double>(r.x0) + box.x0, static_cast<double>(r.y0) + box.y0,
                    static_cast<double>(r.x1) + box.x0, static_cast<double>(r.y1) + box.y0};
        if (near_crop_edge(mask.box, box, crop.image())) continue;
        const auto bytes = static_cast<int64_t>(runs.size() * sizeof(Run));
        const bool fits = all || o.box_nms_thresh >= 1 || (run.held += bytes) <= o.candidate_memory;
        if (fits) mask.runs = Runs(runs.begin(), runs.end());
        else run.held -= bytes;
        mask.area = r.area;
        mask.score = d.iou;
        mask.stability = r.stability;
        mask.point = point;
        mask.prompt = prompt_index;
        mask.crop_box = box;
        masks.push_back(std::move(mask));
    }
    run.scan_ns += static_cast<int64_t>(watch.seconds() * 1e9);
    return masks;
}

// What was found for each point of a crop, in the order of the points.
void collect(std::vector<std::vector<Mask>>& found, MaskSet& set) {
    for (auto& masks : found) std::move(masks.begin(), masks.end(), std::back_inserter(set.masks()));
    found.clear();
}

// Decodes the survivors again whose runs were given up.
void remember(Generation& run, const Embedding& crop, const ScanPlan& plan, MaskSet& set) {
    std::map<int64_t, std::vector<Mask*>> by_prompt;
    for (Mask& m : set.masks()) {
        if (forgotten(m)) by_prompt[m.prompt].push_back(&m);
    }
    const std::vector<std::pair<int64_t, std::vector<Mask*>>> prompts(by_prompt.begin(), by_prompt.end());
    parallel_for(static_cast<int64_t>(prompts.size()), run.schedule, [&](int64_t i, Worker& worker) {
        const auto& [prompt, wanted] = prompts[static_cast<std::size_t>(i)];
        std::vector<Mask> again = masks_of_point(run, crop, plan, wanted.front()->point, prompt, true, worker.arena);
        for (Mask* m : wanted) {
            for (Mask& made : again) {
                if (made.score != m->score || made.area != m->area || made.stability != m->stability || made.runs.empty()) continue;
                m->runs = std::move(made.runs);
                made.runs.clear();
                break;
            }
            if (forgotten(*m)) internal("everything: a candidate that was decoded again came out as another one");
        }
    });
}

// To image coordinates, behind run.masks.
void append_masks(Generation& run, const Embedding& crop, MaskSet& set) {
    const Size size = crop.frame.crop();
    const ImageBox box = crop.frame.crop_box();
    for (Mask& m : set.masks()) {
        if (size != crop.image()) {
            m.runs = translate(m.runs, size, crop.image(), static_cast<int64_t>(box.x0), static_cast<int64_t>(box.y0));
        }
        run.masks.masks().push_back(std::move(m));
    }
    set.masks().clear();
}

// All points of one crop.
void decode_crop(Generation& run, const Embedding& crop, const std::vector<ImagePoint>& grid, int64_t first_prompt) {
    run.stage = "decode";
    run.tell(true);
    const Size size = crop.frame.crop();
    const ImageBox box = crop.frame.crop_box();
    const ScanPlan plan(run.segmenter.model().low_res(), run.segmenter.model().preprocess().side, crop.frame.resized(), size);
    std::vector<std::vector<Mask>> found(grid.size());
    MaskSet set(size);
    run.held = 0;
    const Stopwatch watch;
    const int64_t decode_before = run.decode_ns, scan_before = run.scan_ns;
    try {
        parallel_for(static_cast<int64_t>(grid.size()), run.schedule, [&](int64_t i, Worker& worker) {
            const ImagePoint& g = grid[static_cast<std::size_t>(i)];
            const ImagePoint point{box.x0 + g.x * static_cast<double>(size.width), box.y0 + g.y * static_cast<double>(size.height)};
            auto& masks = found[static_cast<std::size_t>(i)];
            masks = masks_of_point(run, crop, plan, point, first_prompt + i, false, worker.arena);
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
            keep_by_box_nms(run, set, predicted_iou(set), run.options.box_nms_thresh);
            filter = own.seconds();
        });
        remember(run, crop, plan, set);
        run_in_worker(run.schedule, [&] {
            const Stopwatch own;
            append_masks(run, crop, set);
            filter += own.seconds();
        });
        // Wall-clock time, shared out by what the workers spent.
        const double decode = static_cast<double>(run.decode_ns - decode_before), scanned = static_cast<double>(run.scan_ns - scan_before);
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
            if (static_cast<double>(set.masks()[i].area) >= least) kept.push_back(static_cast<int64_t>(i));
        }
        keep_sorted(std::move(kept));
    }
    if (o.mask_iou_thresh) keep_sorted(mask_nms(set, order_by_score(set), *o.mask_iou_thresh, check));
    if (o.containment_thresh < 1.0) keep_sorted(containment(set, order_by_score(set), o.containment_thresh, check));
    if (o.max_masks && static_cast<int64_t>(set.masks().size()) > *o.max_masks) {
        std::vector<int64_t> order = order_by_score(set);
        order.resize(static_cast<std::size_t>(*o.max_masks));
        keep_sorted(std::move(order));
    }
}

std::vector<std::vector<ImagePoint>> grids_of(const EverythingOptions& o) {
    if (!o.point_grids.empty()) return o.point_grids;
    return build_all_layer_point_grids(o.points_per_side, o.crop_n_layers, o.crop_n_points_downscale_factor);
}

Everything finish(Generation& run, bool crops) {
    const EverythingOptions& o = run.options;
    MaskSet& set = run.masks;
    const Stopwatch filter;
    if (crops) {  // masks from smaller crops come first
        std::vector<float> scores;
        for (const Mask& m : set.masks()) {
            const auto area = static_cast<float>((m.crop_box.x1 - m.crop_box.x0) * (m.crop_box.y1 - m.crop_box.y0));
            scores.push_back(1.0F / area);
        }
        run_in_worker(run.schedule, [&] { keep_by_box_nms(run, set, scores, o.crop_nms_thresh); });
    }
    if (o.min_mask_region_area > 0 && !set.masks().empty()) {
        postprocess_small_regions(set, o.min_mask_region_area, std::max(o.box_nms_thresh, o.crop_nms_thresh), run.schedule);
    }
    run_in_worker(run.schedule, [&] { thin(run); });
    run.stats.add("filter", filter.seconds());
    run.stats.seconds["total"] = run.watch.seconds();
    run.stats.peak_memory_mb = peak_resident_mb();
    run.kept = static_cast<int64_t>(set.masks().size());
    run.tell(true);
    return {std::move(set), std::move(run.stats)};
}

void check_crops(const CropPlan& crops) {
    for (std::size_t i = 0; i < crops.boxes.size(); ++i) {
        const ImageBox& b = crops.boxes[i];
        if (b.x0 < b.x1 && b.y0 < b.y1) continue;
        invalid("crop_n_layers: a crop of layer " + std::to_string(crops.layers[i]) +
                " would be empty, the image is too narrow; use fewer layers, or a smaller crop_overlap_ratio");
    }
}

int64_t count_points(const std::vector<std::vector<ImagePoint>>& grids, const CropPlan& crops) {
    int64_t total = 0;
    for (const int64_t layer : crops.layers) {
        const std::size_t index = std::min(static_cast<std::size_t>(layer), grids.size() - 1);
        total += static_cast<int64_t>(grids[index].size());
    }
    if (total > kMaxGridPoints) {
        invalid("everything: " + std::to_string(total) + " points over all crops; the limit is " + std::to_string(kMaxGridPoints) +
                " (kMaxGridPoints): use fewer points per side, or fewer crop layers");
    }
    return total;
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

void EverythingOptions::check() const {
    const auto fraction = [](const char* name, double v) {
        if (!(v >= 0 && v <= 1)) invalid(std::string(name) + ": must be from 0 to 1, got " + std::to_string(v));
    };
    const auto range = [](const char* name, int64_t v, int64_t low, int64_t high) {
        if (v < low || v > high) {
            invalid(std::string(name) + ": must be from " + std::to_string(low) + " to " + std::to_string(high) + ", got " + std::to_string(v));
        }
    };
    fraction("pred_iou_thresh", pred_iou_thresh);
    fraction("stability_score_thresh", stability_score_thresh);
    fraction("box_nms_thresh", box_nms_thresh);
    fraction("crop_nms_thresh", crop_nms_thresh);
    fraction("min_area_frac", min_area_frac);
    fraction("containment_thresh", containment_thresh);
    if (mask_iou_thresh) fraction("mask_iou_thresh", *mask_iou_thresh);
    if (!(crop_overlap_ratio >= 0 && crop_overlap_ratio < 1)) {
        invalid("crop_overlap_ratio: must be at least 0 and below 1, got " + std::to_string(crop_overlap_ratio));
    }
    if (!std::isfinite(stability_score_offset) || stability_score_offset < 0) {
        invalid("stability_score_offset: must be a finite number of at least 0, got " + std::to_string(stability_score_offset));
    }
    if (point_grids.empty()) range("points_per_side", points_per_side, 1, 500);
    range("crop_n_layers", crop_n_layers, 0, 5);
    range("crop_n_points_downscale_factor", crop_n_points_downscale_factor, 1, 1000);
    range("min_mask_region_area", min_mask_region_area, 0, int64_t{1} << 40);
    if (max_masks) range("max_masks", *max_masks, 1, int64_t{1} << 40);
    range("candidate_memory", candidate_memory, 0, int64_t{1} << 50);
    if (!point_grids.empty() && static_cast<int64_t>(point_grids.size()) < crop_n_layers + 1) {
        invalid("point_grids: one grid per layer is needed: " + std::to_string(crop_n_layers + 1) + ", got " +
                std::to_string(point_grids.size()));
    }
}

Everything segment_everything(const Segmenter& segmenter, ImageView image, const EverythingCall& call) {
    call.options.check();
    Generation run(segmenter, call, image.size);
    const auto grids = grids_of(call.options);
    const CropPlan crops = generate_crop_boxes(image.size, call.options.crop_n_layers, call.options.crop_overlap_ratio);
    check_crops(crops);
    run.total = count_points(grids, crops);
    return generate(run, crops.boxes.size() > 1, [&] {
        int64_t first_prompt = 0;
        for (std::size_t c = 0; c < crops.boxes.size(); ++c) {
            run.stage = "encode";
            run.tell(true);
            const Embedding crop = segmenter.encode_crop(image, crops.boxes[c], run.schedule, &run.stats);
            const auto& grid = grids[static_cast<std::size_t>(crops.layers[c])];
            decode_crop(run, crop, grid, first_prompt);
            first_prompt += static_cast<int64_t>(grid.size());
        }
    });
}

Everything segment_everything(const Segmenter& segmenter, const Embedding& embedding, const EverythingCall& call) {
    call.options.check();
    segmenter.check_embedding(embedding);
    if (call.options.crop_n_layers > 0) {
        invalid("everything: crop_n_layers needs the image, not its embedding (each crop is encoded on its own)");
    }
    Generation run(segmenter, call, embedding.image());
    const auto grids = grids_of(call.options);
    run.total = count_points(grids, {.boxes = {}, .layers = {0}});
    return generate(run, false, [&] { decode_crop(run, embedding, grids.front(), 0); });
}

}  // namespace segrid
