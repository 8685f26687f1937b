#include "masks/dedupe.h"

#include <algorithm>

namespace segrid {
namespace {

// An upper bound on the intersection of two masks: the overlap of their boxes, or the smaller area.
int64_t shared_at_most(const Mask& a, const Mask& b) {
    const double w = std::min(a.box.x1, b.box.x1) - std::max(a.box.x0, b.box.x0) + 1;
    const double h = std::min(a.box.y1, b.box.y1) - std::max(a.box.y0, b.box.y0) + 1;
    if (w <= 0 || h <= 0) return 0;
    return std::min({static_cast<int64_t>(w * h), a.area, b.area});
}

// drops(intersection, a, b) must grow with the intersection.
template <class Drops>
std::vector<int64_t> keep_first(const MaskSet& set, const std::vector<int64_t>& order,
                                const std::function<void()>& check, const Drops& drops) {
    std::vector<int64_t> kept;
    for (const int64_t i : order) {
        if (check) check();
        const Mask& mask = set.masks()[static_cast<std::size_t>(i)];
        const bool dropped = std::any_of(kept.begin(), kept.end(), [&](int64_t j) {
            const Mask& better = set.masks()[static_cast<std::size_t>(j)];
            const int64_t most = shared_at_most(mask, better);
            return most > 0 && drops(most, mask, better) &&
                   drops(intersection(mask.runs, better.runs), mask, better);
        });
        if (!dropped) kept.push_back(i);
    }
    return kept;
}

}  // namespace

std::vector<int64_t> mask_nms(const MaskSet& set, const std::vector<int64_t>& order,
                              double iou_threshold, const std::function<void()>& check) {
    return keep_first(set, order, check, [&](int64_t shared, const Mask& a, const Mask& b) {
        return static_cast<double>(shared) >
               iou_threshold * static_cast<double>(a.area + b.area - shared);
    });
}

std::vector<int64_t> containment(const MaskSet& set, const std::vector<int64_t>& order,
                                 ContainmentThresholds thresholds,
                                 const std::function<void()>& check) {
    if (thresholds.same_crop >= 1.0 && thresholds.across_crops >= 1.0) return order;
    return keep_first(set, order, check, [&](int64_t shared, const Mask& a, const Mask& b) {
        const double threshold =
            a.crop_box == b.crop_box ? thresholds.same_crop : thresholds.across_crops;
        return static_cast<double>(shared) >
               threshold * static_cast<double>(std::min(a.area, b.area));
    });
}

}  // namespace segrid
