#include "masks/filter.h"

#include <cmath>

namespace segrid {

bool near_crop_edge(ImageBox box, ImageBox crop, Size image, double atol) {
    const auto cut = [&](double b, double c, double i) {
        return std::abs(b - c) <= atol && !(std::abs(b - i) <= atol);
    };
    return cut(box.x0, crop.x0, 0) || cut(box.y0, crop.y0, 0) ||
           cut(box.x1, crop.x1, static_cast<double>(image.width)) ||
           cut(box.y1, crop.y1, static_cast<double>(image.height));
}

}  // namespace segrid
