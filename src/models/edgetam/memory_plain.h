// The memory of EdgeTAM by its plain definitions: SAM 2's, condensed by the spatial perceiver.
#pragma once

#include <memory>

#include "models/edgetam/config.h"
#include "models/tracking.h"
#include "nn/plain.h"

namespace segrid::edgetam {

// Reads every tensor of the memory from the root of the weights. Null for a checkpoint for images.
std::unique_ptr<MemoryModel> load_memory_plain(const Config& config, const sam2::ImageConfig& image,
                                               const plain::Weights& root);
// Throws Corrupt as WeightStore::finish does. Tensors of memory may be left where there is none.
void finish(const Config& config, const WeightStore& store);

}  // namespace segrid::edgetam
