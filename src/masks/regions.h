// Small holes and islands, found on the runs, so that the cost depends on the runs and not on the
// pixels.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/thread_pool.h"
#include "masks/mask_set.h"

namespace segrid {

enum class Region { Holes, Islands };
// Whether the pixels of one region touch by their sides only, or also by their corners.
enum class Connectivity { Four = 4, Eight = 8 };

// segment-anything's remove_small_regions (which is 8-connected). Fills holes, or removes islands,
// of fewer than min_area pixels; if every island is small, the largest stays. Returns whether
// anything changed.
bool remove_small_regions(Runs& runs, Size size, int64_t min_area, Region what,
                          Connectivity connectivity = Connectivity::Eight);

// segment-anything's postprocess_small_regions, in place: removes small holes and islands of every
// mask, then applies a box NMS that prefers unchanged masks. The masks end up in the order of the
// NMS.
void postprocess_small_regions(MaskSet& set, int64_t min_area, Connectivity connectivity,
                               double nms_threshold, const Schedule& schedule);

// sam2's filling of holes and sprinkles, in place on a mask's logits. First, 8-connected regions of
// at most max_hole_area pixels at or below the threshold become threshold + margin. Then regions of
// at most max_sprinkle_area pixels above it become threshold - margin. 0 turns a step off.
struct RegionFilling {
    int64_t max_hole_area = 0, max_sprinkle_area = 0;
    float threshold = 0;
    float margin = 10;  // sam2's for images; for video it is 0.1
};
void fill_small_regions(float* logits, Size size, const RegionFilling& filling);
// The same for many masks, [masks, h, w], on the device of their logits; not in place. Called on
// the device thread. bytes: about how much memory may be used in addition.
at::Tensor fill_small_regions(const at::Tensor& logits, const RegionFilling& filling,
                              int64_t bytes);

}  // namespace segrid
