// MobileSAM (Zhang et al. 2023, "Faster Segment Anything"): TinyViT, then SAM's prompt encoder and
// mask decoder. Its folders have a format of segrid's own, which `segrid convert mobile_sam.pt`
// writes: model_type is "mobile_sam", TinyViT's tensors are under vision_encoder, and the others
// have the names that transformers gives SAM's.
#pragma once

#include <memory>

#include "core/execution.h"
#include "models/segmentation.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid::mobile_sam {

// Reads every tensor from the store and finishes it. Throws Corrupt if the file and the config do
// not belong together.
std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions);
// The same with the plain definitions, which run on CUDA. Throws Unsupported for fp16, in which the
// encoder overflows.
std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement);

}  // namespace segrid::mobile_sam
