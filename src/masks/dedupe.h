// Duplicates by the masks themselves, at the cost of box NMS: only masks whose boxes meet are
// compared, on runs.
#pragma once

#include <functional>

#include "masks/mask_set.h"

namespace segrid {

// Goes through the masks in `order` and drops each whose mask IoU with one that was kept is above
// the threshold. Returns the kept indices in that order. check is called now and then; what it
// throws stops the work.
std::vector<int64_t> mask_nms(const MaskSet& set, const std::vector<int64_t>& order,
                              double iou_threshold, const std::function<void()>& check = {});
// The same with intersection over the smaller area: drops parts of better masks, and wholes of
// better parts. 1.0 keeps all. Two masks that were found in different crops are held to
// across_crops: an object on the seam of two crops is seen twice, by one of them perhaps in part.
struct ContainmentThresholds {
    double within = 1.0;
    double across_crops = 1.0;
};
std::vector<int64_t> containment(const MaskSet& set, const std::vector<int64_t>& order,
                                 ContainmentThresholds thresholds,
                                 const std::function<void()>& check = {});

}  // namespace segrid
