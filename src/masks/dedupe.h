// Removes duplicates by comparing the masks themselves. Only masks whose boxes overlap are
// compared, on runs, so the cost is close to that of box NMS.
#pragma once

#include <functional>

#include "masks/mask_set.h"

namespace segrid {

// Goes through the masks in `order` and drops each one whose mask IoU with a kept mask is above the
// threshold. Returns the kept indices in that order. check is called regularly; an exception that
// it throws stops the work.
std::vector<int64_t> mask_nms(const MaskSet& set, const std::vector<int64_t>& order,
                              double iou_threshold, const std::function<void()>& check = {});
// The same with the intersection over the smaller area: drops masks that are parts of better ones,
// and masks whose parts are better. 1.0 keeps all. Two masks from different crops use the threshold
// across_crops, because an object on the seam of two crops is seen twice, perhaps once only in
// part.
struct ContainmentThresholds {
    double same_crop = 1.0;
    double across_crops = 1.0;
};
std::vector<int64_t> containment(const MaskSet& set, const std::vector<int64_t>& order,
                                 ContainmentThresholds thresholds,
                                 const std::function<void()>& check = {});

}  // namespace segrid
