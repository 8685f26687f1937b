// The memory of SAM 2 and 2.1 by its plain definitions, which families like it share.
#pragma once

#include <functional>
#include <memory>

#include "models/sam2/memory_config.h"
#include "models/tracking.h"
#include "nn/plain.h"

namespace segrid::sam2 {

// How a family keeps an encoded memory.
struct Keeping {
    // [image tokens, memory channels] -> [kept tokens, memory channels]
    std::function<at::Tensor(const at::Tensor&)> condense;
    at::ScalarType type;  // of the kept tokens
};

// Reads every tensor of the memory from the root of the weights.
std::unique_ptr<MemoryModel> load_memory_plain(const MemoryConfig& config,
                                               const plain::Weights& root, Keeping keeping);
// The same for SAM 2, which keeps a memory as it is encoded, in bf16; null for a checkpoint for
// images.
std::unique_ptr<MemoryModel> load_memory_plain(const Config& config, const ImageConfig& image,
                                               const plain::Weights& root);

}  // namespace segrid::sam2
