// Inside a worker, ATen, MKL and OpenMP run single-threaded. The user's own torch keeps its
// settings.
#pragma once

#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>

namespace segrid {

// Applies to the constructing thread, and stays in force after destruction.
class SingleThreadLibraries {
public:
    SingleThreadLibraries();
};

// Applies to the device thread while the object exists: nothing is recorded for gradients, and fp32
// products never run in TF32, even if the user allows it.
class DeviceThread {
    c10::InferenceMode inference_;
    at::NoTF32Guard exact_;
};

}  // namespace segrid
