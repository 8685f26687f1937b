// EdgeTAM (Zhou et al. 2025, "EdgeTAM: On-device track anything model"; transformers' EdgeTamModel
// and EdgeTamVideoModel): SAM 2 with a smaller image encoder, and with a memory of video that a
// perceiver condenses.
#pragma once

#include <memory>

#include "core/execution.h"
#include "models/segmentation.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid::edgetam {

// Reads every tensor from the store and finishes it: of an EdgeTamVideoModel with its memory, which
// runs by its plain definitions; of an EdgeTamModel without, also where the file holds one. Throws
// Corrupt if the file and the config do not belong together.
std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions);
// The same with the plain definitions, which run on CUDA.
std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement);

}  // namespace segrid::edgetam
