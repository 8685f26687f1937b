// The reports of a long call while it runs, and the statistics that it returns.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace segrid {

struct Progress {
    std::string stage;  // "encode", "decode", "filter"
    int64_t done = 0;   // prompts decoded so far, over all crops
    int64_t total = 0;
    int64_t kept = 0;      // masks that have passed the thresholds so far
    double elapsed = 0;    // seconds since the call began
    double memory_mb = 0;  // resident memory of the process
};
using ProgressCallback = std::function<void(const Progress&)>;

// Wall-clock seconds per stage, memory and batches of one call.
struct Stats {
    std::map<std::string, double> seconds;
    double peak_memory_mb = 0;  // of the process, so far
    // Only for batches on devices: the prompts in a batch at the end of the call, and how often
    // memory ran out and the batch was halved.
    int64_t batch_size = 0, halved = 0;
    // The same for images that were encoded together.
    int64_t image_batch_size = 0, images_halved = 0;
    // The peak device memory of this process since it began; 0 on the CPU.
    double peak_device_mb = 0;

    void add(const std::string& stage, double s) { seconds[stage] += s; }
};

class Stopwatch {
public:
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    }

private:
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace segrid
