// Non-maximum suppression of boxes, as torchvision.ops.nms on the CPU.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace segrid {

// boxes: n x 4 XYXY. Goes through the boxes by descending score (ties: in the given order) and
// drops each one whose IoU with a kept box is above the threshold. IoU is float32, with areas
// without + 1. Returns the kept indices in that order. Uses O(n) memory. check is called regularly;
// an exception that it throws stops the work.
std::vector<int64_t> box_nms(const float* boxes, const float* scores, int64_t n,
                             double iou_threshold, const std::function<void()>& check = {});

// The same, separately for the boxes of each label. scores must be descending. Returns the kept
// indices in ascending order.
std::vector<int64_t> box_nms_by_label(const float* boxes, const float* scores,
                                      const int64_t* labels, int64_t n, double iou_threshold,
                                      const std::function<void()>& check = {});

}  // namespace segrid
