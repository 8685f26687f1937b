// A recording of what each thread did and when. It is off until start(). While it runs, a Span
// costs two clock readings and one store.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace segrid {

struct TraceEvent {
    const char* name;  // a string literal
    int64_t begin;     // nanoseconds since the recording began
    int64_t duration;  // nanoseconds
    int64_t index;     // number of the prompt, tile or crop; -1: none
    int thread;        // numbered in the order in which threads first recorded
};

namespace trace {

// The most events in a recording (40 MB, and twice that while it is read). Later events are only
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
void record(const char* name, int64_t begin, int64_t index);

}  // namespace trace

// Records the time from its construction to end() or its destruction.
class Span {
public:
    explicit Span(const char* name, int64_t index = -1) : name_(name), index_(index) {
        if (trace::recording.load(std::memory_order_relaxed)) begin_ = trace::now();
    }
    ~Span() { end(); }
    // Ends the current span and begins the next one.
    void next(const char* name) {
        end();
        name_ = name;
        if (trace::recording.load(std::memory_order_relaxed)) begin_ = trace::now();
    }
    void end() {
        if (begin_ >= 0) trace::record(name_, begin_, index_);
        begin_ = -1;
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

private:
    const char* name_;
    int64_t index_, begin_ = -1;
};

}  // namespace segrid
