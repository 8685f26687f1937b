// The memory of SAM 2 and 2.1 on the CPU's kernels.
#pragma once

#include <memory>

#include "models/sam2/memory_config.h"
#include "models/tracking.h"
#include "weights/store.h"

namespace segrid::sam2 {

// Reads every tensor of the memory from the root of the weights.
std::unique_ptr<MemoryModel> load_memory(const Config& config, const ImageConfig& image,
                                         const WeightScope& root);

}  // namespace segrid::sam2
