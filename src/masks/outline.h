// Masks to polygons.
#pragma once

#include <vector>

#include "masks/mask_set.h"

namespace segrid {

// The corners of a closed walk along pixel edges; the first is not repeated. x, y count pixel
// corners: the pixel (0, 0) is the square from 0, 0 to 1, 1.
using Ring = std::vector<std::pair<int64_t, int64_t>>;

// The outer ring comes first, clockwise on the screen; then the holes, counter-clockwise. No ring
// passes a corner twice, but a hole may touch its outer ring, or another hole, at a corner.
// Polygons are therefore valid Simple Features.
using Polygon = std::vector<Ring>;

// One polygon for each 4-connected component of the mask, in raster order of their uppermost rows.
// Exact: filling the polygons (even-odd) gives the mask. The cost grows with the area of the mask's
// box.
std::vector<Polygon> outline(const Mask& mask, Size size);

}  // namespace segrid
