// Small holes and islands, found on the runs: the cost is that of the runs, not of the pixels.
#pragma once

#include "core/thread_pool.h"
#include "masks/mask_set.h"

namespace segrid {

enum class Region { Holes, Islands };
enum class Connectivity {
    Four = 4,
    Eight = 8
};  // pixels of one region touch by their sides; or by corners, too

// segment-anything's remove_small_regions (which is 8-connected): holes (or islands) below min_area
// pixels are filled (or removed); when every island is small, the largest stays. Returns whether
// anything changed.
bool remove_small_regions(Runs& runs, Size size, int64_t min_area, Region what,
                          Connectivity connectivity = Connectivity::Eight);

// segment-anything's postprocess_small_regions, in place: both on every mask, then box NMS that
// prefers unchanged masks. Order: that of the NMS.
void postprocess_small_regions(MaskSet& set, int64_t min_area, Connectivity connectivity,
                               double nms_threshold, const Schedule& schedule);

// sam2's hole and sprinkle filling, in place on a mask's logits: 8-connected regions at or below
// the threshold of at most max_hole_area pixels become threshold + 10, then those above it of at
// most max_sprinkle_area become threshold - 10. 0 is off.
struct RegionFilling {
    int64_t max_hole_area = 0, max_sprinkle_area = 0;
    float threshold = 0;
};
void fill_small_regions(float* logits, Size size, const RegionFilling& filling);

}  // namespace segrid
