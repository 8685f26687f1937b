#include "core/trace.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <new>

#include "core/error.h"

namespace segrid::trace {

std::atomic<bool> recording{false};
thread_local MultiplyAdds multiplied{};

namespace {

// The events of one thread.
struct Buffer {
    std::mutex mutex;  // contended only by stop()
    std::vector<TraceEvent> events;
    int thread = 0;
};

struct Recorder {
    std::mutex mutex;
    std::vector<std::shared_ptr<Buffer>> buffers;
    int threads = 0;
    std::atomic<int64_t> begin{0}, count{0};
};

Recorder& recorder() {
    static auto* r = new Recorder();  // outlives every thread
    return *r;
}

Buffer& own_buffer() {
    thread_local const std::shared_ptr<Buffer> buffer = [] {
        auto made = std::make_shared<Buffer>();
        Recorder& r = recorder();
        std::lock_guard lock(r.mutex);
        made->thread = r.threads++;
        r.buffers.push_back(made);
        return made;
    }();
    return *buffer;
}

}  // namespace

int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

void start() {
    Recorder& r = recorder();
    std::lock_guard lock(r.mutex);
    if (recording.load())
        invalid("trace: a recording is under way; there is one at a time, so end it first");
    r.begin = now();
    // Drops the buffers of threads that have ended.
    std::erase_if(r.buffers, [](const auto& buffer) { return buffer.use_count() == 1; });
    for (const auto& buffer : r.buffers) {
        std::lock_guard own(buffer->mutex);
        buffer->events.clear();
    }
    r.count = 0;
    recording = true;
}

Recording stop() {
    Recorder& r = recorder();
    std::lock_guard lock(r.mutex);
    recording = false;
    Recording result;
    for (const auto& buffer : r.buffers) {
        std::lock_guard own(buffer->mutex);
        result.events.insert(result.events.end(), buffer->events.begin(), buffer->events.end());
        buffer->events = {};
    }
    result.dropped = std::max<int64_t>(0, r.count - kMaxEvents);
    std::stable_sort(result.events.begin(), result.events.end(),
                     [](const TraceEvent& a, const TraceEvent& b) { return a.begin < b.begin; });
    return result;
}

void record(const char* name, int64_t begin, int64_t index, const MultiplyAdds& before) {
    const int64_t duration = now() - begin,
                  since_start = begin - recorder().begin.load(std::memory_order_relaxed);
    // The span began in another recording, or ended too late for this one.
    if (since_start < 0 || !recording.load(std::memory_order_relaxed)) return;
    if (recorder().count.fetch_add(1, std::memory_order_relaxed) >= kMaxEvents) return;
    try {
        MultiplyAdds products = multiplied;
        for (std::size_t i = 0; i < products.size(); ++i) products[i] -= before[i];
        Buffer& own = own_buffer();
        std::lock_guard lock(own.mutex);
        own.events.push_back({name, since_start, duration, index, own.thread, products});
    } catch (const std::bad_alloc&) {  // the event is lost, but the work it records goes on
    }
}

}  // namespace segrid::trace
