#pragma once

#include "core/geometry.h"

namespace segrid {

// Whether a mask's box ends at an edge of its crop that is not an edge of the image
// (segment-anything's is_box_near_crop_edge): such a mask is probably cut. atol in pixels.
bool near_crop_edge(ImageBox box, ImageBox crop, Size image, double atol = 20.0);

}  // namespace segrid
