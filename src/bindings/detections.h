// What detectors are asked, and what they found as arrays.
#pragma once

#include <optional>
#include <vector>

#include "bindings/module.h"
#include "engine/detector.h"

namespace segrid::bindings {

// (N, 4) float32 boxes, (N,) float32 scores, (N,) int64 labels, (N,) int64 patches.
py::tuple columns(const std::vector<Detection>& found);

inline DetectOptions options_of(double threshold, std::optional<double> nms,
                                bool every_label = false) {
    return {.threshold = threshold, .nms = nms, .every_label = every_label};
}

// Throws Internal unless there is a label, numbered from 0, for each text.
void check_labels(std::size_t texts, const std::vector<int64_t>& label_of);

}  // namespace segrid::bindings
