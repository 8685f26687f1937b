// How a model runs, fixed when it is loaded.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>

#include "core/precision.h"

namespace segrid {

// Where the plain definitions of models run (nn/plain.h): in ATen operations on a device, weights
// and activations in one type.
struct Placement {
    c10::Device device{c10::kCPU};
    c10::ScalarType type = c10::kFloat;
};

struct Execution {
    Precisions precisions;           // used by the CPU's kernels
    std::optional<Placement> plain;  // if set, the plain definitions run instead of the kernels
};

}  // namespace segrid
