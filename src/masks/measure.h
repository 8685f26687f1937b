// Numbers of masks, from their runs.
#pragma once

#include <optional>
#include <vector>

#include "core/views.h"
#include "masks/mask_set.h"

namespace segrid {

// Of one mask, in pixels; the pixel (y, x) has its centre at x, y. NaN for an empty mask.
struct Measures {
    double x = 0, y = 0;  // centroid
    double major = 0,
           minor = 0;  // axes of the ellipse with the same second moments, as regionprops'
    double angle = 0;  // of the major axis against the x axis, radians, from -pi/2 to pi/2,
                       // clockwise on the screen (y is down)
    double intensity[3] = {0, 0, 0};  // mean of R, G, B; NaN without an image
};

// In the masks' order. image: of the set's size. Inside a worker, or on one's own thread: no ATen.
std::vector<Measures> measure(const MaskSet& set, const std::optional<ImageView>& image);

}  // namespace segrid
