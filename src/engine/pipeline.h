// Words -> boxes -> masks. Both encoders run on the pool at the same time; then all boxes go to the
// decoder in one call.
#pragma once

#include <vector>

#include "engine/detector.h"
#include "engine/segmenter.h"

namespace segrid {

struct DetectedMasks {
    std::vector<Detection> detections;
    Predicted masks;  // one for each detection, in their order
};

// label_of: the label of each text, see Queries. Throws InvalidInput without texts. Polls and
// throws as parallel_for does.
DetectedMasks detect_and_segment(const Detector& detector, const Segmenter& segmenter,
                                 ImageView image, const std::vector<TokenIds>& texts,
                                 const std::vector<int64_t>& label_of, const DetectOptions& options,
                                 const PredictOptions& masks, const Schedule& schedule);

}  // namespace segrid
