// Where models may run, and what a device has left. CUDA comes with the installed torch: nothing
// here is compiled against it.
#pragma once

#include <c10/core/Device.h>

#include <exception>
#include <optional>
#include <string>

namespace segrid {

struct ResolvedDevice {
    std::string name;                  // cpu, cpu-plain, cuda:0
    std::optional<c10::Device> plain;  // where the plain definitions run; none: the CPU's kernels
};

// request: auto (what the environment's SEGRID_DEVICE says, else the first CUDA device where torch
// has CUDA and there is one, else cpu), cpu, cuda, cuda:N, cpu-plain (what runs on CUDA, on the
// CPU: to check the one against the other), or the name of a backend that an extension has
// registered with torch. Throws InvalidInput for another name, Unsupported where torch has no CUDA
// or finds no such device, with torch's reason.
ResolvedDevice resolve_device(const std::string& request);

// Bytes that may be used now; on the CPU, where nothing tells, a gigabyte.
int64_t free_memory(c10::Device device);
// What this process has of the device's memory, and the most it has had at once; zeros on the CPU.
struct DeviceMemory {
    double now_mb = 0, peak_mb = 0;
};
DeviceMemory device_memory(c10::Device device);
// Whether it says that memory ran out, the device's or the process's.
bool is_out_of_memory(const std::exception_ptr& error);
// What torch keeps of the device's memory for later goes back.
void release_cached(c10::Device device);

}  // namespace segrid
