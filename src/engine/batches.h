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

// How much of the device one call takes: half of what is free for decoding, a quarter for looking
// at pixels.
class DeviceBudget {
public:
    // each: masks a prompt that are decoded once more. at_most: prompts a batch; 0: as the memory
    // allows.
    DeviceBudget(const SegmentationModel& model, int64_t each, int64_t at_most);
    int64_t scan_bytes() const { return scan_bytes_; }

    // body(first, count) on the thread of devices for batches of [0, total), in order. Where memory
    // runs out the batch is halved, and the same prompts come again: body must not have kept
    // anything by then. Stats tell.
    template <class Body>
    void over(int64_t total, const Schedule& schedule, Stats& stats, const Body& body) {
        for (int64_t first = 0;
             first < total;) {  // (largest_: that went well since the last time memory ran out)
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
            if (schedule.poll)
                schedule.poll();  // batches may be shorter than the interval at which waiting does
        }
        stats.batch_size = largest_;
        stats.peak_device_mb = std::max(stats.peak_device_mb, device_memory(device_).peak_mb);
    }

private:
    void shrink(
        int64_t count);  // with less than `count` prompts took; throws where there is no less

    c10::Device device_;
    int64_t batch_ = 1, scan_bytes_ = 0, largest_ = 0;
};

}  // namespace segrid
