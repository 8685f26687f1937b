// Non-maximum suppression of boxes, as torchvision.ops.nms on the CPU.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace segrid {

// boxes: n x 4 XYXY. Goes through the boxes by descending score (ties: in order), drops each whose
// IoU (float32, areas without + 1) with one that was kept is above the threshold. Returns the kept
// indices in that order. O(n) memory. check is called now and then; what it throws stops the work.
std::vector<int64_t> box_nms(const float* boxes, const float* scores, int64_t n,
                             double iou_threshold, const std::function<void()>& check = {});

// The same among boxes of one label each. scores descend; returns the kept indices, ascending.
std::vector<int64_t> box_nms_by_label(const float* boxes, const float* scores,
                                      const int64_t* labels, int64_t n, double iou_threshold,
                                      const std::function<void()>& check = {});

}  // namespace segrid
