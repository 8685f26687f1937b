// Small holes and islands. Needs OpenCV (connected components); without it these throw Unsupported.
#pragma once

#include "core/thread_pool.h"
#include "masks/mask_set.h"

namespace segrid {

enum class Region { Holes, Islands };

// segment-anything's remove_small_regions: 8-connected holes (or islands) below min_area pixels are filled (or removed); when every island is
// small, the largest stays. Returns whether anything changed; pixels: H*W bytes of 0 and 1.
bool remove_small_regions(uint8_t* pixels, Size size, int64_t min_area, Region what);

// segment-anything's postprocess_small_regions: both on every mask, then box NMS that prefers unchanged masks. Order: that of the NMS.
MaskSet postprocess_small_regions(const MaskSet& set, int64_t min_area, double nms_threshold, const Schedule& schedule);

}  // namespace segrid
