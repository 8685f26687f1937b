#include "engine/batches.h"

#include <ATen/Functions.h>

#include "nn/graphs.h"

namespace segrid {
namespace {

constexpr int64_t kMost = 256;  // prompts per batch; larger batches are not faster
// Bytes. More is not faster, and some of torch's kernels count in 31 bits.
constexpr int64_t kMostScanned = int64_t{4} << 30;
constexpr int64_t kLeastScanned = int64_t{16} << 20;

}  // namespace

DeviceBudget::DeviceBudget(const SegmentationModel& model, int64_t each, int64_t at_most)
    : DeviceBudget(model.device(), "prompt", "a smaller image, or precision 'fp16' or 'bf16'") {
    const int64_t free = free_memory(device_),
                  fits = free / 2 / std::max<int64_t>(1, model.bytes_per_prompt() * each);
    batch_ = std::clamp<int64_t>(fits, 1, at_most > 0 ? at_most : kMost);
    scan_bytes_ = std::min(free / 4, kMostScanned);
}

DeviceBudget DeviceBudget::of_images(c10::Device device, int64_t bytes_per_image) {
    DeviceBudget budget(device, "image",
                        "precision 'fp16' or 'bf16', or fewer images a call, whose embeddings stay "
                        "on the device");
    budget.batch_ = std::clamp<int64_t>(
        free_memory(device) / 2 / std::max<int64_t>(1, bytes_per_image), 1, kMostImages);
    return budget;
}

void DeviceBudget::shrink(int64_t count) {
    plain::Graphs::clear_all();
    release_cached(device_);
    if (count == 1 && scan_bytes_ <= kLeastScanned) {
        fail(ErrorKind::OutOfMemory,
             device_.str() + ": out of memory with a single " + what_ + " (about " +
                 human_bytes(static_cast<std::size_t>(free_memory(device_))) + " are free); use " +
                 remedy_);
    }
    batch_ = std::max<int64_t>(1, count / 2);
    scan_bytes_ /= count == 1 ? 8 : 2;
}

}  // namespace segrid
