// From files to a model: config.json's model_type picks the family.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/execution.h"
#include "models/detection.h"
#include "models/segmentation.h"

namespace segrid {

template <class Model>
struct FromFiles {
    std::unique_ptr<Model> model;
    std::vector<std::string> quantised;  // names of the weights that run in int8
};

// Throws Unsupported for a model_type that this build does not know (the message lists those it
// knows), and what reading throws.
FromFiles<SegmentationModel> load_segmentation_model(const std::string& config_path,
                                                     const std::string& weights_path,
                                                     const Execution& execution);

FromFiles<DetectionModel> load_detection_model(const std::string& config_path,
                                               const std::string& weights_path,
                                               const Execution& execution);

}  // namespace segrid
