// What one "segment everything" is asked, and the points and crops that follow from it.
#pragma once

#include <optional>
#include <vector>

#include "core/geometry.h"
#include "masks/regions.h"
#include "prompts/crops.h"

namespace segrid {

// Prompts of one call, over all crops.
inline constexpr int64_t kMaxGridPoints = 250'000;

struct EverythingOptions {
    int64_t points_per_side = 32;
    // Own grids, one per crop layer, of points in [0, 1]^2; then points_per_side is not used.
    std::vector<std::vector<ImagePoint>> point_grids;
    double pred_iou_thresh = 0.88;         // kept: above (0 is off)
    double stability_score_thresh = 0.95;  // kept: at least (0 is off)
    bool any_thresholds =
        false;  // these two may lie outside 0..1, as in the originals: a predicted IoU may exceed 1
    double stability_score_offset = 1.0;
    double mask_threshold = 0;  // of logits; around it the stability is measured
    double box_nms_thresh = 0.7;
    std::optional<int64_t> crop_n_layers = 0;  // empty: as few as bring the smallest crops to the
                                               // model's working scale (none where it has none)
    double crop_nms_thresh = 0.7;
    double crop_overlap_ratio = 512.0 / 1500.0;
    int64_t crop_n_points_downscale_factor = 1;
    int64_t min_mask_region_area = 0;  // pixels; smaller holes and islands are removed (0 is off)
    Connectivity region_connectivity = Connectivity::Eight;  // of these holes and islands
    // sam2's: one mask a point; each mask once more with itself as hint; regions of the low-res
    // logits (see fill_small_regions; around 0, as sam2's generator does).
    bool multimask = true;
    bool use_m2m = false;
    int64_t max_hole_area = 0, max_sprinkle_area = 0;
    // Beyond both; off unless given.
    double min_area_frac = 0;  // of the image's area
    std::optional<double> mask_iou_thresh;
    double containment_thresh = 1.0;  // 1.0 is off
    double crop_containment_thresh =
        1.0;  // for two masks from different crops, in place of it; 1.0 is off
    std::optional<int64_t> max_masks;  // those with the highest predicted IoU
    // Candidates wait for box NMS with their runs, up to this many bytes a crop. What does not fit
    // is forgotten, and decoded again if it survives: the same bits, later. Not used where NMS
    // drops nothing (box_nms_thresh 1).
    int64_t candidate_memory = int64_t{96} << 20;

    void check() const;  // throws InvalidInput naming the option
};

struct PointPlan {
    CropPlan crops;
    std::vector<std::vector<ImagePoint>> grids;  // one per crop layer, in [0, 1]^2 of a crop
    int64_t total = 0;                           // points over all crops
};

// Throws InvalidInput for options that cannot be met on an image of this size. working_scale: the
// model's, for crop layers left open; then as many as it asks for, as there are grids for, and as
// keep to kMaxGridPoints.
PointPlan plan_points(const EverythingOptions& options, Size image,
                      std::optional<double> working_scale);

}  // namespace segrid
