#pragma once

#include "core/geometry.h"

namespace segrid {

// True if the box of a mask ends at an edge of its crop that is not an edge of the image; such a
// mask is probably cut. Equals segment-anything's is_box_near_crop_edge. atol is in pixels.
bool near_crop_edge(ImageBox box, ImageBox crop, Size image, double atol = 20.0);

}  // namespace segrid
