// Every family's segmentation model by its plain definitions: what runs on CUDA.
#pragma once

#include <memory>

#include "core/execution.h"
#include "models/segmentation.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid::plain {

// Each reads every tensor from the store and finishes it, and throws as the family's own load does.
std::unique_ptr<SegmentationModel> load_sam(const Config& config, WeightStore& store,
                                            Placement placement);
std::unique_ptr<SegmentationModel> load_mobile_sam(const Config& config, WeightStore& store,
                                                   Placement placement);
std::unique_ptr<SegmentationModel> load_sam2(const Config& config, WeightStore& store,
                                             Placement placement);

}  // namespace segrid::plain
