// The options of "segment everything", and the points and crops that follow from them.
#pragma once

#include <optional>
#include <vector>

#include "core/geometry.h"
#include "masks/regions.h"
#include "prompts/crops.h"

namespace segrid {

// The most prompts in one call, over all crops.
inline constexpr int64_t kMaxGridPoints = 250'000;

struct EverythingOptions {
    int64_t points_per_side = 32;
    // The caller's own grids, one per crop layer, of points in [0, 1]^2. If given, points_per_side
    // is not used.
    std::vector<std::vector<ImagePoint>> point_grids;
    double pred_iou_thresh = 0.88;         // masks above it are kept; 0 is off
    double stability_score_thresh = 0.95;  // masks that reach it are kept; 0 is off
    // Lets these two lie outside 0..1, as in the originals: a predicted IoU may exceed 1.
    bool any_thresholds = false;
    double stability_score_offset = 1.0;
    double mask_threshold = 0;  // of logits; stability is measured around it
    double box_nms_thresh = 0.7;
    // Empty: the fewest that bring the smallest crops to the model's working scale, or 0 if the
    // model states none.
    std::optional<int64_t> crop_n_layers = 0;
    double crop_nms_thresh = 0.7;
    double crop_overlap_ratio = 512.0 / 1500.0;
    int64_t crop_n_points_downscale_factor = 1;
    int64_t min_mask_region_area = 0;  // pixels; holes and islands below it are removed; 0 is off
    Connectivity region_connectivity = Connectivity::Eight;  // of these holes and islands
    // sam2's options. Without multimask each point gives one mask. use_m2m decodes each mask once
    // more with itself as hint. The areas are in pixels of the low-res logits, see
    // fill_small_regions; 0 is off.
    bool multimask = true;
    bool use_m2m = false;
    int64_t max_hole_area = 0, max_sprinkle_area = 0;
    // segrid's own filters, off by default.
    double min_area_frac = 0;  // of the image's area
    std::optional<double> mask_iou_thresh;
    double containment_thresh = 1.0;  // 1.0 is off
    // Used instead of containment_thresh for two masks from different crops; 1.0 is off.
    double crop_containment_thresh = 1.0;
    std::optional<int64_t> max_masks;  // the masks with the highest predicted IoU are kept
    // The most bytes of runs that candidates of one crop hold while they wait for box NMS. Runs
    // beyond it are dropped, and decoded again if their masks survive: the same bits, in more time.
    // Not used if NMS drops nothing (box_nms_thresh 1).
    int64_t candidate_memory = int64_t{96} << 20;

    void check() const;  // throws InvalidInput naming the option
};

struct PointPlan {
    CropPlan crops;
    std::vector<std::vector<ImagePoint>> grids;  // one per crop layer, in [0, 1]^2 of a crop
    int64_t total = 0;                           // points over all crops
};

// Throws InvalidInput if the options do not suit an image of this size. working_scale is the
// model's and is used if crop_n_layers is empty; the number of layers is then also limited by the
// number of point_grids and by kMaxGridPoints.
PointPlan plan_points(const EverythingOptions& options, Size image,
                      std::optional<double> working_scale);

}  // namespace segrid
