// The memory of SAM 2 and 2.1 by its plain definitions.
#pragma once

#include <memory>

#include "models/sam2/memory_config.h"
#include "models/tracking.h"
#include "nn/plain.h"

namespace segrid::sam2 {

// Reads every tensor of the memory from the root of the weights.
std::unique_ptr<MemoryModel> load_memory_plain(const Config& config, const Sam2Config& image,
                                               const plain::Weights& root);

}  // namespace segrid::sam2
