#include "engine/device.h"

#include <ATen/Config.h>
#include <ATen/Functions.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <new>
#include <string_view>

#if AT_MKLDNN_ENABLED()
#include <oneapi/dnnl/dnnl_common.hpp>
#endif

#include "core/error.h"
#include "core/thread_pool.h"

namespace segrid {
namespace {

// Loads torch's CUDA libraries, which register themselves. Returns "", or the reason why they
// cannot be loaded.
std::string load_cuda() {
    static std::mutex mutex;
    static bool loaded = false;
    const std::lock_guard lock(mutex);
    if (loaded) return "";
    Dl_info torch;
    if (dladdr(reinterpret_cast<const void*>(&c10::DeviceTypeName), &torch) == 0)
        return "torch's libraries were not found";
    const auto library = std::filesystem::path(torch.dli_fname).lexically_normal().parent_path() /
                         "libtorch_cuda.so";
    if (!std::filesystem::exists(library))
        return "the installed torch is a build without CUDA (" + library.string() +
               " is not there)";
    loaded = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr;
    return loaded ? "" : std::string(dlerror());
}

bool has_driver() {
    static const bool found = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr;
    return found;
}

// Returns "" if the device can be used, otherwise the reason.
std::string try_device(c10::Device device) {
    std::string why = load_cuda();
    if (!why.empty()) return why;
    if (!has_driver()) return "no NVIDIA driver was found (libcuda.so.1)";
    run_on_devices({}, [&] {
        // Runs a kernel, too: torch can allocate memory on devices for which it has no kernels.
        try {
            at::zeros({1}, at::TensorOptions(device)).add_(1).item<float>();
        } catch (const c10::Error& e) {
            why = e.what_without_backtrace();
        }
    });
    return why.substr(0, why.find('\n'));
}

// N for "cuda:N", 0 for "cuda", nothing for any other text.
std::optional<c10::DeviceIndex> cuda_index(std::string_view request) {
    if (request == "cuda") return c10::DeviceIndex{0};
    constexpr std::string_view prefix = "cuda:";
    if (!request.starts_with(prefix) || request.size() == prefix.size() ||
        request.size() > prefix.size() + 2)
        return {};
    int index = 0;
    for (const char c : request.substr(prefix.size())) {
        if (c < '0' || c > '9') return {};
        index = 10 * index + (c - '0');
    }
    return static_cast<c10::DeviceIndex>(index);
}

}  // namespace

ResolvedDevice resolve_device(const std::string& request) {
    // ATen asks CUDA for its devices only once per process, as soon as any code (such as a
    // convolution on the CPU) needs them. torch's CUDA libraries must be loaded before that.
    if (has_driver()) load_cuda();
    if (request == "cpu") return {"cpu", {}};
    if (request == "cpu-plain") return {request, c10::Device(c10::kCPU)};
    if (request == "auto") {
        const char* asked = std::getenv("SEGRID_DEVICE");
        if (asked != nullptr && *asked != '\0' && std::string_view(asked) != "auto") {
            try {
                return resolve_device(asked);
            } catch (const Error& e) {
                fail(e.kind(), std::string("SEGRID_DEVICE: ") + e.what());
            }
        }
        const c10::Device first(c10::kCUDA, 0);
        if (has_driver() && try_device(first).empty()) return {first.str(), first};
        return {"cpu", {}};
    }
    const std::string asked = "device='" + request + "': ";
    if (const auto index = cuda_index(request)) {
        const c10::Device device(c10::kCUDA, *index);
        const std::string why = try_device(device);
        if (why.empty()) return {device.str(), device};
        fail(ErrorKind::Unsupported,
             asked + why +
                 "; use 'cpu', or install torch with CUDA (https://pytorch.org) and a driver that "
                 "is new enough for it");
    }
    const c10::Device other(c10::kPrivateUse1, 0);
    if (c10::is_privateuse1_backend_registered() &&
        (request == c10::get_privateuse1_backend() || request == other.str()))
        return {other.str(), other};
    if (request == "mps") fail(ErrorKind::Unsupported, asked + "not in this build yet; use 'cpu'");
    invalid(asked + "unknown; use 'auto', 'cpu', 'cuda', 'cuda:N' or 'cpu-plain'");
}

int64_t free_memory(c10::Device device) {
    if (device.is_cpu()) return int64_t{1} << 30;
    // Memory that torch has cached but does not use is free, too.
    auto* allocator = at::getDeviceAllocator(device.type());
    const auto stats = allocator->getDeviceStats(device.index());
    const auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const int64_t cached = stats.reserved_bytes[all].current - stats.allocated_bytes[all].current;
    return static_cast<int64_t>(allocator->getMemoryInfo(device.index()).first) + cached;
}

DeviceMemory device_memory(c10::Device device) {
    if (device.is_cpu()) return {};
    const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
    const auto& bytes =
        stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
    return {static_cast<double>(bytes.current) / 1e6, static_cast<double>(bytes.peak) / 1e6};
}

void reset_peak_memory(c10::Device device) {
    if (!device.is_cpu()) at::getDeviceAllocator(device.type())->resetPeakStats(device.index());
}

bool is_out_of_memory(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const c10::OutOfMemoryError&) {
        return true;
    } catch (const c10::Error& e) {
        // Errors that do not come from torch's device allocator are recognised by their text.
        const std::string_view text = e.what_without_backtrace();
        const auto says = [&](std::string_view words) {
            return text.find(words) != std::string_view::npos;
        };
        return says("can't allocate memory") || says("out of memory") || says("ALLOC_FAILED");
    } catch (const std::bad_alloc&) {
        return true;
#if AT_MKLDNN_ENABLED()
        // oneDNN had no memory for the code that it generates at run time.
    } catch (const dnnl::error& e) {
        return e.status == dnnl_out_of_memory;
#endif
    } catch (...) {
        return false;
    }
}

void release_cached(c10::Device device) {
    if (device.is_cpu()) return;
    const c10::DeviceGuard guard(device);
    at::getDeviceAllocator(device.type())->emptyCache();
}

}  // namespace segrid
