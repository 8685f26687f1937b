// Decodes prompts, and encodes images, in batches, for models on a device, which one does not keep
// busy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/thread_pool.h"
#include "engine/device.h"
#include "engine/progress.h"
#include "models/segmentation.h"

namespace segrid {

// The most images that are encoded together; larger batches are not faster.
inline constexpr int64_t kMostImages = 16;

// How much of the device's memory one call may use: half of what is free for decoding or encoding,
// a quarter for scanning. Belongs to one call and one thread.
class DeviceBudget {
public:
    // each: how many masks are decoded at once per prompt (more than 1 if every mask of a prompt is
    // refined). at_most: the most prompts per batch; 0: as many as memory allows.
    DeviceBudget(const SegmentationModel& model, int64_t each, int64_t at_most);
    // The budget of a call that encodes images, each of which needs about so many bytes.
    static DeviceBudget of_images(c10::Device device, int64_t bytes_per_image);
    int64_t scan_bytes() const { return scan_bytes_; }
    c10::Device device() const { return device_; }
    int64_t batch() const { return batch_; }  // the most that is computed at once

    // Calls body(first, count) on the device thread for consecutive batches of [0, total). If
    // memory runs out, the batch is halved and the same ones are passed again, so body must store
    // results only when nothing can fail any more. Records the batch size, the halvings and
    // the peak memory in `stats`.
    template <class Body>
    void over(int64_t total, const Schedule& schedule, Stats& stats, const Body& body) {
        for (int64_t first = 0; first < total;) {
            const int64_t count = std::min(batch_, total - first);
            try {
                run_on_devices(schedule, [&] { body(first, count); });
                first += count;
                largest_ = std::max(largest_, count);
            } catch (...) {
                if (!is_out_of_memory(std::current_exception())) throw;
                shrink(count);
                largest_ = 0;
                ++stats.halved;
            }
            // Needed here because a batch may be shorter than the interval at which waiting polls.
            if (schedule.poll) schedule.poll();
        }
        stats.batch_size = largest_;
        stats.peak_device_mb = std::max(stats.peak_device_mb, device_memory(device_).peak_mb);
    }

private:
    DeviceBudget(c10::Device device, std::string what, std::string remedy)
        : device_(device), what_(std::move(what)), remedy_(std::move(remedy)) {}
    // Reduces the memory used from now on, after `count` of a batch took too much. Throws
    // OutOfMemory if it cannot be reduced further.
    void shrink(int64_t count);

    c10::Device device_;
    std::string what_, remedy_;  // what the batches are of, and what helps if one is too large
    // largest_: the largest batch that succeeded since memory last ran out.
    int64_t batch_ = 1, scan_bytes_ = 0, largest_ = 0;
};

}  // namespace segrid
