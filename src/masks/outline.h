// Masks to polygons.
#pragma once

#include <vector>

#include "masks/mask_set.h"

namespace segrid {

// Corners of a closed walk along pixel edges, the first not repeated; x, y in pixel corners: the
// pixel (0, 0) is the square from 0, 0 to 1, 1.
using Ring = std::vector<std::pair<int64_t, int64_t>>;

// The outer ring first, clockwise on the screen; then holes, the other way round. Rings pass no
// corner twice; a hole may touch its outer ring, or another hole, at a corner (so polygons are
// valid as Simple Features have it).
using Polygon = std::vector<Ring>;

// One polygon for each part of the mask whose pixels are 4-connected; exact: filled (even-odd) they
// are the mask. In raster order of their uppermost rows. Costs the mask's box.
std::vector<Polygon> outline(const Mask& mask, Size size);

}  // namespace segrid
