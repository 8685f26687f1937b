// Segment everything: a grid of points over an image and its crops, decoded in parallel, filtered as segment-anything's
// SamAutomaticMaskGenerator does, then thinned by the filters that segrid adds.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "engine/segmenter.h"

namespace segrid {

// Prompts of one call, over all crops.
inline constexpr int64_t kMaxGridPoints = 250'000;

struct EverythingOptions {
    int64_t points_per_side = 32;
    // Own grids, one per crop layer, of points in [0, 1]^2; then points_per_side is not used.
    std::vector<std::vector<ImagePoint>> point_grids;
    double pred_iou_thresh = 0.88;         // kept: above (0 is off)
    double stability_score_thresh = 0.95;  // kept: at least (0 is off)
    double stability_score_offset = 1.0;
    double box_nms_thresh = 0.7;
    int64_t crop_n_layers = 0;
    double crop_nms_thresh = 0.7;
    double crop_overlap_ratio = 512.0 / 1500.0;
    int64_t crop_n_points_downscale_factor = 1;
    int64_t min_mask_region_area = 0;      // pixels; smaller holes and islands are removed (0 is off)
    // Beyond segment-anything; off unless given.
    double min_area_frac = 0;              // of the image's area
    std::optional<double> mask_iou_thresh;
    double containment_thresh = 1.0;       // 1.0 is off
    std::optional<int64_t> max_masks;      // those with the highest predicted IoU
    // Candidates wait for box NMS with their runs, up to this many bytes a crop. What does not fit is forgotten, and decoded again if it
    // survives: the same bits, later. Not used where NMS drops nothing (box_nms_thresh 1).
    int64_t candidate_memory = int64_t{96} << 20;

    void check() const;  // throws InvalidInput naming the option
};

struct EverythingCall {
    const EverythingOptions& options;
    Schedule schedule;          // its poll runs beside progress
    ProgressCallback progress;  // may be empty; called on the calling thread
    double progress_interval = 0.1;  // seconds between two calls of progress
    // May be empty. When the call is stopped (cancelled, or poll or progress threw): the masks of the prompts that had been decoded, after the
    // thresholds, but for candidates that were given up for memory; box NMS has been done for finished crops only. Called on the calling
    // thread before the exception goes on.
    std::function<void(MaskSet)> partial;
};

struct Everything {
    MaskSet masks;
    Stats stats;
};

// The masks in the order of segment-anything's: NMS order, crops by NMS over crops.
Everything segment_everything(const Segmenter& segmenter, ImageView image, const EverythingCall& call);
// On an image that is encoded already; without crops (InvalidInput when options ask for crop layers).
Everything segment_everything(const Segmenter& segmenter, const Embedding& embedding, const EverythingCall& call);

}  // namespace segrid
