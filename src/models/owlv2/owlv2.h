// OWLv2 and OWL-ViT (transformers' Owlv2ForObjectDetection, OwlViTForObjectDetection): image ->
// patches; texts -> queries; both -> scored boxes.
#pragma once

#include <memory>

#include "core/execution.h"
#include "models/detection.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid::owlv2 {

// With plain definitions in the execution, these encode the image; the CPU's kernels still do texts
// and the boxes of patches, in fp32. Reads every tensor from the store and finishes it. Throws
// Corrupt if the file and the config do not belong together.
std::unique_ptr<DetectionModel> load(const Config& config, WeightStore& store,
                                     const Execution& execution);

}  // namespace segrid::owlv2
