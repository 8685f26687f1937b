// What the parts of "segment everything" share while one call runs.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "engine/everything.h"
#include "engine/prompt_masks.h"

namespace segrid {

// Everything one call shares: its options, what it has counted, and the masks found so far.
struct Generation {
    Generation(const Segmenter& segmenter, const EverythingCall& call, Size image);

    // For long steps that are one task: throws when the call is to stop.
    void check() const;
    // Progress goes to the caller, at most once per interval; tell_now() does not wait.
    void tell();
    void tell_now();
    void begin(const std::string& stage);  // tells it

    MaskRules mask_rules() const;
    DecodeRequest request() const;

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

// The prompt of a grid point, which lies in [0, 1]^2 of the crop.
Prompt prompt_of(const Embedding& crop, const ImagePoint& grid_point);
// Whether predicted IoU lets a mask pass. Without a threshold (0) all do, also NaN.
bool passes_iou(const EverythingOptions& options, float iou);
// Whether stability and the crop's edge let a scanned mask pass.
bool passes_scan(const EverythingOptions& options, const Embedding& crop, const Mask& mask);

// Whether a mask's runs were given up for lack of memory (an empty mask has none to give up).
bool runs_given_up(const Mask& mask);
// The masks that box NMS keeps, best first by `scores`.
std::vector<int64_t> kept_by_box_nms(const Generation& run, const MaskSet& set,
                                     const std::vector<float>& scores, double threshold);
std::vector<float> predicted_iou(const MaskSet& set);
// Moves the masks of a crop to the end of run.masks, in image coordinates.
void append_masks(Generation& run, const Embedding& crop, MaskSet& set);

// All points of one crop, which add to run.masks. The first of them is prompt `first_prompt` of the
// call. On workers: a task per point...
void decode_crop_on_workers(Generation& run, const Embedding& crop,
                            const std::vector<ImagePoint>& grid, int64_t first_prompt);
// ... or on a device: batch by batch, and the masks' runs stay there until box NMS has chosen among
// them.
void decode_crop_by_batches(Generation& run, const Embedding& crop,
                            const std::vector<ImagePoint>& grid, int64_t first_prompt);

}  // namespace segrid
