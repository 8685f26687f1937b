#include "masks/measure.h"

#include <cmath>
#include <limits>

#include "core/error.h"

namespace segrid {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Sums of 1, x and x^2 over x0 <= x < x1.
struct PowerSums {
    double count, first, second;
    PowerSums(double x0, double x1)
        : count(x1 - x0),
          first((x0 + x1 - 1) * (x1 - x0) / 2),
          second((x1 - 1) * x1 * (2 * x1 - 1) / 6 - (x0 - 1) * x0 * (2 * x0 - 1) / 6) {}
};

Measures of(const Mask& mask, int64_t width, const std::optional<ImageView>& image) {
    Measures m;
    // Relative to the box's corner, because in large images sums of squares would lose digits.
    const double cx = mask.box.x0, cy = mask.box.y0;
    double n = 0, sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
    uint64_t light[3] = {0, 0, 0};
    for_each_row(mask.runs, width, [&](int64_t y, int64_t x0, int64_t x1) {
        const PowerSums along(static_cast<double>(x0) - cx, static_cast<double>(x1) - cx);
        const double v = static_cast<double>(y) - cy;
        n += along.count;
        sx += along.first;
        sxx += along.second;
        sy += v * along.count;
        syy += v * v * along.count;
        sxy += v * along.first;
        if (!image) return;
        const uint8_t* p = image->row(y) + 3 * x0;
        for (int64_t i = 0; i < 3 * (x1 - x0); i += 3) {
            light[0] += p[i];
            light[1] += p[i + 1];
            light[2] += p[i + 2];
        }
    });
    if (n == 0) return {kNone, kNone, kNone, kNone, kNone, {kNone, kNone, kNone}};
    const double mx = sx / n, my = sy / n;
    m.x = mx + cx;
    m.y = my + cy;
    const double xx = sxx / n - mx * mx, yy = syy / n - my * my, xy = sxy / n - mx * my;
    const double middle = (xx + yy) / 2, spread = std::hypot((xx - yy) / 2, xy);
    m.major = 4 * std::sqrt(middle + spread);
    m.minor = 4 * std::sqrt(std::max(0.0, middle - spread));
    m.angle = 0.5 * std::atan2(2 * xy, xx - yy);
    for (int c = 0; c < 3; ++c) m.intensity[c] = image ? static_cast<double>(light[c]) / n : kNone;
    return m;
}

}  // namespace

std::vector<Measures> measure(const MaskSet& set, const std::optional<ImageView>& image) {
    if (image && image->size != set.size()) {
        invalid("measure: the image is " + std::to_string(image->size.height) + " x " +
                std::to_string(image->size.width) + ", the masks are " +
                std::to_string(set.size().height) + " x " + std::to_string(set.size().width) +
                " (height x width)");
    }
    std::vector<Measures> out;
    out.reserve(set.masks().size());
    for (const Mask& mask : set.masks()) out.push_back(of(mask, set.size().width, image));
    return out;
}

}  // namespace segrid
