// Tensors for values that are about to be written.
#pragma once

#include <ATen/core/Tensor.h>

namespace segrid {

// An uninitialised tensor on the CPU. The system may give a large one pages of 2 MB: fresh pages
// of 4 KB cost as much as a tenth of an encoder.
at::Tensor fresh_tensor(at::IntArrayRef sizes, at::ScalarType type = at::kFloat);

}  // namespace segrid
