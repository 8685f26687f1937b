// The state and the steps that both ways of "segment everything" share: on workers and on devices.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "engine/everything.h"
#include "engine/prompt_masks.h"

namespace segrid {

// The state of one call: its options, its counters, and the masks found so far. Many workers update
// the atomic members; the others are used by one thread at a time.
struct Generation {
    Generation(const Segmenter& segmenter, const EverythingCall& call, Size image);

    // Throws Cancelled if the call is to stop. Called during long steps that are a single task.
    void check() const;
    // Reports progress to the caller, at most once per interval; tell_now() always reports.
    void tell();
    void tell_now();
    void begin(const std::string& stage);  // a new stage, and reports it

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
    double told = -1;  // when progress was last reported, in seconds since the call began
    MaskSet masks;     // of the crops so far, in image coordinates
    std::atomic<int64_t> decode_ns{0}, scan_ns{0};  // sums over all workers
};

// The prompt of a grid point, which is given in [0, 1]^2 of the crop.
Prompt prompt_of(const Embedding& crop, const ImagePoint& grid_point);
// Whether a mask passes the threshold of predicted IoU. Without a threshold (0) all masks pass,
// even if it is NaN.
bool passes_iou(const EverythingOptions& options, float iou);
// Whether a scanned mask is stable enough and is not cut off by the crop's edge.
bool passes_scan(const EverythingOptions& options, const Embedding& crop, const Mask& mask);

// Whether a mask's runs were dropped to save memory. An empty mask has none to drop.
bool runs_given_up(const Mask& mask);
// The indices of the masks that box NMS keeps, in descending order of `scores`.
std::vector<int64_t> kept_by_box_nms(const Generation& run, const MaskSet& set,
                                     const std::vector<float>& scores, double threshold);
std::vector<float> predicted_iou(const MaskSet& set);
// Moves the masks of a crop to the end of run.masks and converts them to image coordinates.
void append_masks(Generation& run, const Embedding& crop, MaskSet& set);

// Decodes all points of one crop and adds their masks to run.masks. The first point of the crop is
// prompt `first_prompt` of the call. On workers: each point is a task.
void decode_crop_on_workers(Generation& run, const Embedding& crop,
                            const std::vector<ImagePoint>& grid, int64_t first_prompt);
// The same on a device: points are decoded in batches, and runs stay on the device until box NMS
// has chosen among the masks.
void decode_crop_by_batches(Generation& run, const Embedding& crop,
                            const std::vector<ImagePoint>& grid, int64_t first_prompt);

}  // namespace segrid
