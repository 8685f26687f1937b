// Measurements of masks, from their runs.
#pragma once

#include <optional>
#include <vector>

#include "core/views.h"
#include "masks/mask_set.h"

namespace segrid {

// Measurements of one mask, in pixels. The pixel (y, x) has its centre at x, y. NaN for an empty
// mask.
struct Measures {
    double x = 0, y = 0;  // centroid
    // Axes of the ellipse with the same second moments, as in scikit-image's regionprops.
    double major = 0, minor = 0;
    // The major axis against the x axis, in radians from -pi/2 to pi/2, clockwise on the screen (y
    // points down).
    double angle = 0;
    double intensity[3] = {0, 0, 0};  // mean of R, G, B; NaN without an image
};

// One result per mask, in order. The image must have the set's size. May run on any thread, because
// it does not use ATen.
std::vector<Measures> measure(const MaskSet& set, const std::optional<ImageView>& image);

}  // namespace segrid
