#include "prompts/grid.h"

#include <cmath>
#include <string>

#include "core/error.h"

namespace segrid {

std::vector<ImagePoint> build_point_grid(int64_t n) {
    // The formula of NumPy's linspace(offset, 1 - offset, n): start + i * step, and the end
    // exactly.
    const double offset = 1.0 / (2.0 * static_cast<double>(n)), stop = 1.0 - offset;
    const double step = n > 1 ? (stop - offset) / static_cast<double>(n - 1) : 0.0;
    const auto place = [&](int64_t i) {
        return n > 1 && i == n - 1 ? stop : static_cast<double>(i) * step + offset;
    };
    std::vector<ImagePoint> points;
    points.reserve(static_cast<std::size_t>(n * n));
    for (int64_t y = 0; y < n; ++y) {
        for (int64_t x = 0; x < n; ++x) points.push_back({place(x), place(y)});
    }
    return points;
}

int64_t points_per_side_of_layer(int64_t n, int64_t layer, int64_t factor) {
    return static_cast<int64_t>(static_cast<double>(n) /
                                std::pow(static_cast<double>(factor), static_cast<double>(layer)));
}

std::vector<std::vector<ImagePoint>> build_all_layer_point_grids(int64_t n, int64_t layers,
                                                                 int64_t factor) {
    std::vector<std::vector<ImagePoint>> grids;
    for (int64_t i = 0; i <= layers; ++i) {
        const int64_t side = points_per_side_of_layer(n, i, factor);
        if (side < 1) {
            invalid("crop_n_points_downscale_factor: " + std::to_string(factor) +
                    " leaves no points in crop layer " + std::to_string(i));
        }
        grids.push_back(build_point_grid(side));
    }
    return grids;
}

void validate_grids(const std::vector<std::vector<ImagePoint>>& grids) {
    for (std::size_t g = 0; g < grids.size(); ++g) {
        if (grids[g].empty()) invalid("point_grids[" + std::to_string(g) + "]: is empty");
        for (std::size_t i = 0; i < grids[g].size(); ++i) {
            const ImagePoint& p = grids[g][i];
            if (!(p.x >= 0 && p.x <= 1 && p.y >= 0 && p.y <= 1)) {
                invalid("point_grids[" + std::to_string(g) + "][" + std::to_string(i) + "]: (" +
                        std::to_string(p.x) + ", " + std::to_string(p.y) +
                        ") must lie in 0..1 (fractions of the crop)");
            }
        }
    }
}

}  // namespace segrid
