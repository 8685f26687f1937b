// What the parts of "segment everything" share while one call runs.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "core/memory.h"
#include "engine/everything.h"

namespace segrid {

// Everything one call shares: what it counts, and what it tells.
struct Generation {
    Generation(const Segmenter& s, const EverythingCall& c, Size image)
        : segmenter(s), call(c), options(c.options), masks(image) {
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
        call.progress({.stage = stage,
                       .done = done,
                       .total = total,
                       .kept = kept,
                       .elapsed = elapsed,
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
    MaskSet masks;                                  // of the crops so far, in image coordinates
    std::atomic<int64_t> decode_ns{0}, scan_ns{0};  // of all workers
};

// A mask of a crop that has been scanned, without its runs; none where stability or the crop's edge
// rule it out.
std::optional<Mask> candidate(const Generation& run, const Embedding& crop, const ScanResult& found,
                              float iou, int64_t prompt, ImagePoint point);
// The masks that box NMS keeps, best first by `scores`.
std::vector<int64_t> kept_by_box_nms(const Generation& run, const MaskSet& set,
                                     const std::vector<float>& scores, double threshold);
std::vector<float> predicted_iou(const MaskSet& set);
// To image coordinates, behind run.masks.
void append_masks(Generation& run, const Embedding& crop, MaskSet& set);
// What scanning found of a mask of a crop. An empty mask's box is zeros in its crop, as in
// segment-anything.
void place(Mask& mask, const Embedding& crop, const ScanResult& found);
// Whether a mask's runs were given up for memory (an empty mask has none to give up).
inline bool forgotten(const Mask& m) { return m.runs.empty() && m.area > 0; }
// A mask's own logits as a hint are cut to this, as in sam2.
inline constexpr float kHintLimit = 32;
// Where the grid's points lie in a crop.
ImagePoint point_in(const Embedding& crop, const ImagePoint& of_grid);

// All points of one crop on a device: batch by batch, the masks' runs stay there until box NMS has
// chosen among them.
void decode_crop_by_batches(Generation& run, const Embedding& crop,
                            const std::vector<ImagePoint>& grid, int64_t first_prompt);

}  // namespace segrid
