// From files to a model: config.json's model_type picks the family.
#pragma once

#include <memory>
#include <string>

#include "core/precision.h"
#include "models/segmentation.h"

namespace segrid {

// Throws Unsupported for a model_type that this build does not know (the message lists those it knows), and what reading throws.
std::unique_ptr<SegmentationModel> load_segmentation_model(const std::string& config_path, const std::string& weights_path,
                                                           Precision precision);

}  // namespace segrid
