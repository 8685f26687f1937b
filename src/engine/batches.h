// Prompts by the batch, for models that have a device to fill.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "core/thread_pool.h"
#include "engine/device.h"
#include "engine/progress.h"
#include "models/segmentation.h"

namespace segrid {

// How much of the device one call takes: half of what is free for decoding, a quarter for looking at pixels.
class DeviceBudget {
public:
    // each: masks a prompt that are decoded once more. at_most: prompts a batch; 0: as the memory allows.
    DeviceBudget(const SegmentationModel& model, int64_t each, int64_t at_most) : device_(model.device()) {
        constexpr int64_t kMost = 256;  // more at once is not faster
        const int64_t free = free_memory(device_), fits = free / 2 / std::max<int64_t>(1, model.bytes_per_prompt() * each);
        batch_ = std::clamp<int64_t>(fits, 1, at_most > 0 ? at_most : kMost);
        scan_bytes_ = std::min(free / 4, int64_t{4} << 30);  // more at once is not faster, and some of torch's kernels count in 31 bits
    }
    int64_t batch() const { return batch_; }
    int64_t scan_bytes() const { return scan_bytes_; }

    // body(first, count) on a worker for batches of [0, total), in order. Where memory runs out the batch is halved, and the same prompts come again: body must
    // not have kept anything by then. Stats tell.
    template <class Body>
    void over(int64_t total, const Schedule& schedule, Stats& stats, const Body& body) {
        for (int64_t first = 0; first < total;) {
            const int64_t count = std::min(batch_, total - first);
            try {
                run_in_worker(schedule, [&] { body(first, count); });
                first += count;
            } catch (...) {
                if (!is_out_of_memory(std::current_exception())) throw;
                release_cached(device_);
                if (count == 1) {
                    fail(ErrorKind::OutOfMemory, device_.str() + ": out of memory with a single prompt (about " + human_bytes(static_cast<std::size_t>(free_memory(device_))) +
                                                     " were free for it); take a smaller image, or 'fp16' or 'bf16'");
                }
                batch_ = std::max<int64_t>(1, count / 2);
                scan_bytes_ /= 2;
                ++stats.halved;
            }
        }
        stats.batch_size = batch_;
        stats.peak_device_mb = std::max(stats.peak_device_mb, peak_device_mb(device_));
    }

private:
    c10::Device device_;
    int64_t batch_ = 1, scan_bytes_ = 0;
};

}  // namespace segrid
