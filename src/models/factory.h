// Loads a model from files. The model_type in config.json selects the family.
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

// Both throw Unsupported if this build does not know the model_type (the message lists those it
// knows), and whatever reading the files throws.
FromFiles<SegmentationModel> load_segmentation_model(const std::string& config_path,
                                                     const std::string& weights_path,
                                                     const Execution& execution);

FromFiles<DetectionModel> load_detection_model(const std::string& config_path,
                                               const std::string& weights_path,
                                               const Execution& execution);

}  // namespace segrid
