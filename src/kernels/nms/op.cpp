#include "kernels/nms/op.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace segrid {

std::vector<int64_t> box_nms(const float* boxes, const float* scores, int64_t n,
                             double iou_threshold, const std::function<void()>& check) {
    std::vector<int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    // Columns in the order of the scores, so that the compiler can vectorise the inner loop.
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

std::vector<int64_t> box_nms_by_label(const float* boxes, const float* scores,
                                      const int64_t* labels, int64_t n, double iou_threshold,
                                      const std::function<void()>& check) {
    std::map<int64_t, std::vector<int64_t>> of_label;
    for (int64_t i = 0; i < n; ++i) of_label[labels[i]].push_back(i);
    std::vector<int64_t> kept;
    for (const auto& [label, own] : of_label) {
        std::vector<float> own_boxes, own_scores;
        for (const int64_t i : own) {
            own_boxes.insert(own_boxes.end(), boxes + 4 * i, boxes + 4 * i + 4);
            own_scores.push_back(scores[i]);
        }
        for (const int64_t k : box_nms(own_boxes.data(), own_scores.data(),
                                       static_cast<int64_t>(own.size()), iou_threshold, check)) {
            kept.push_back(own[static_cast<std::size_t>(k)]);
        }
    }
    std::sort(kept.begin(), kept.end());
    return kept;
}

}  // namespace segrid
