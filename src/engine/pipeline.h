// Words -> boxes -> masks: both encoders overlap on the pool, then all boxes go to the decoder as
// one batch.
#pragma once

#include <vector>

#include "engine/detector.h"
#include "engine/segmenter.h"

namespace segrid {

struct DetectedMasks {
    std::vector<Detection> detections;
    Predicted masks;  // one for each detection, in their order
};

DetectedMasks detect_and_segment(const Detector& detector, const Segmenter& segmenter,
                                 ImageView image, const std::vector<TokenIds>& texts,
                                 const std::vector<int64_t>& label_of, const DetectOptions& options,
                                 const PredictOptions& masks, const Schedule& schedule);

}  // namespace segrid
