// Inside a worker, ATen, MKL and OpenMP run single-threaded; the user's own torch keeps its
// settings.
#pragma once

#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>

namespace segrid {

// For the thread that constructs it, from then on.
class SingleThreadLibraries {
public:
    SingleThreadLibraries();
};

// On the thread of devices, as long as it is there: nothing is prepared for gradients, and a
// product in fp32 is not one in TF32, whatever the user allows.
class DeviceThread {
    c10::InferenceMode inference_;
    at::NoTF32Guard exact_;
};

}  // namespace segrid
