// The devices that models may run on, and their memory. CUDA comes with the installed torch:
// nothing here is compiled against it.
#pragma once

#include <c10/core/Device.h>

#include <exception>
#include <optional>
#include <string>

namespace segrid {

struct ResolvedDevice {
    std::string name;                  // cpu, cpu-plain, cuda:0
    std::optional<c10::Device> plain;  // where plain definitions run; empty: the CPU's kernels run
};

// request is one of
//   auto       the environment variable SEGRID_DEVICE if it is set, otherwise the first CUDA
//              device if torch can use it, otherwise cpu
//   cpu        the CPU's kernels
//   cpu-plain  on the CPU what runs on CUDA, to compare the two
//   cuda, cuda:N
//   or the name of a backend that an extension has registered with torch.
// Throws InvalidInput for any other name, and Unsupported, with torch's reason, if torch has no
// CUDA or finds no such device.
ResolvedDevice resolve_device(const std::string& request);

// Bytes of the device's memory that are free, including those that torch has cached. For the CPU
// always 1 GiB.
int64_t free_memory(c10::Device device);
// The device memory that this process uses now, and its peak so far or since reset_peak_memory, in
// megabytes of 10^6 bytes.
// Zeros for the CPU.
struct DeviceMemory {
    double now_mb = 0, peak_mb = 0;
};
DeviceMemory device_memory(c10::Device device);
// Makes the memory that is used now the peak.
void reset_peak_memory(c10::Device device);
// Whether the error says that memory ran out, on the device or in the process.
bool is_out_of_memory(const std::exception_ptr& error);
// Gives back the device memory that torch has cached.
void release_cached(c10::Device device);

}  // namespace segrid
