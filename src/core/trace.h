// A recording of what each thread did and when, and of the multiply-adds of its products. It is off
// until start(). While it runs, a Span costs two clock readings and one store.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "core/precision.h"

namespace segrid {

// Multiply-adds of matrix products, by the type of their factors.
using MultiplyAdds = std::array<int64_t, kPrecisions>;

struct TraceEvent {
    const char* name;  // a string literal
    int64_t begin;     // nanoseconds since the recording began
    int64_t duration;  // nanoseconds
    int64_t index;     // number of the prompt, tile or crop; -1: none
    int thread;        // numbered in the order in which threads first recorded
    MultiplyAdds products;
};

namespace trace {

// The most events in a recording (72 MB, and twice that while it is read). Later events are only
// counted.
inline constexpr int64_t kMaxEvents = 1'000'000;

// Begins a recording. Throws InvalidInput if one is already running in this process.
void start();
// Ends it. The events are sorted by their begin; `dropped` counts those that did not fit.
struct Recording {
    std::vector<TraceEvent> events;
    int64_t dropped = 0;
};
Recording stop();

extern std::atomic<bool> recording;
int64_t now();  // nanoseconds of the steady clock
void record(const char* name, int64_t begin, int64_t index, const MultiplyAdds& before);

// What this thread has multiplied since it began to record.
extern thread_local MultiplyAdds multiplied;
// Adds a product to the spans that are open on this thread.
inline void count_product(Precision precision, int64_t multiply_adds) {
    if (recording.load(std::memory_order_relaxed))
        multiplied[static_cast<std::size_t>(precision)] += multiply_adds;
}

}  // namespace trace

// Records the time from its construction to end() or its destruction.
class Span {
public:
    explicit Span(const char* name, int64_t index = -1) : name_(name), index_(index) { begin(); }
    ~Span() { end(); }
    // Ends the current span and begins the next one.
    void next(const char* name) {
        end();
        name_ = name;
        begin();
    }
    void end() {
        if (begin_ >= 0) trace::record(name_, begin_, index_, before_);
        begin_ = -1;
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

private:
    void begin() {
        if (!trace::recording.load(std::memory_order_relaxed)) return;
        before_ = trace::multiplied;
        begin_ = trace::now();
    }

    const char* name_;
    int64_t index_, begin_ = -1;
    MultiplyAdds before_;  // of this thread; set when the span begins
};

}  // namespace segrid
