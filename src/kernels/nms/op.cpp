#include "kernels/nms/op.h"

#include <algorithm>
#include <numeric>

namespace segrid {

std::vector<int64_t> box_nms(const float* boxes, const float* scores, int64_t n, double iou_threshold,
                             const std::function<void()>& check) {
    std::vector<int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    // Columns in order of score, so that the inner loop is a straight vectorisable pass.
    const auto count = static_cast<std::size_t>(n);
    std::vector<float> x0(count), y0(count), x1(count), y1(count), area(count);
    for (std::size_t i = 0; i < count; ++i) {
        const float* b = boxes + 4 * order[i];
        x0[i] = b[0];
        y0[i] = b[1];
        x1[i] = b[2];
        y1[i] = b[3];
        area[i] = (b[2] - b[0]) * (b[3] - b[1]);
    }
    std::vector<uint8_t> dropped(count, 0);
    std::vector<int64_t> kept;
    for (std::size_t i = 0; i < count; ++i) {
        if (dropped[i]) continue;
        if (check) check();
        kept.push_back(order[i]);
        for (std::size_t j = i + 1; j < count; ++j) {
            const float w = std::max(0.0F, std::min(x1[i], x1[j]) - std::max(x0[i], x0[j]));
            const float h = std::max(0.0F, std::min(y1[i], y1[j]) - std::max(y0[i], y0[j]));
            const float inter = w * h;
            const float iou = inter / (area[i] + area[j] - inter);
            dropped[j] |= static_cast<uint8_t>(static_cast<double>(iou) > iou_threshold);
        }
    }
    return kept;
}

}  // namespace segrid
