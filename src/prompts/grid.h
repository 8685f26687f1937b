// Point grids in [0, 1]^2, as segment-anything builds them.
#pragma once

#include <vector>

#include "core/geometry.h"

namespace segrid {

// n x n points at the centres of n x n cells, row by row.
std::vector<ImagePoint> build_point_grid(int64_t n);
// int(n / factor^layer).
int64_t points_per_side_of_layer(int64_t n, int64_t layer, int64_t factor);
// One grid per crop layer, with points_per_side_of_layer points a side. Throws InvalidInput if a
// layer has no points.
std::vector<std::vector<ImagePoint>> build_all_layer_point_grids(int64_t n, int64_t layers,
                                                                 int64_t factor);
// Checks a user's own grids: finite and in [0, 1]. Throws InvalidInput naming grid, index and
// value.
void validate_grids(const std::vector<std::vector<ImagePoint>>& grids);

}  // namespace segrid
