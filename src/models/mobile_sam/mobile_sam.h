// MobileSAM (Zhang et al. 2023, "Faster Segment Anything"): TinyViT in front of SAM's prompt
// encoder and mask decoder. Its folders are segrid's own
// (`segrid convert mobile_sam.pt`): model_type "mobile_sam", TinyViT's tensors under
// vision_encoder, the rest named as transformers names SAM's.
#pragma once

#include <memory>

#include "core/execution.h"
#include "models/segmentation.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid::mobile_sam {

// Reads every tensor from the store and finishes it. Throws Corrupt when the file and the config do
// not belong together.
std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions);
// The same by the plain definitions: what runs on CUDA. Throws Unsupported in fp16, in which its
// encoder overflows.
std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement);

}  // namespace segrid::mobile_sam
