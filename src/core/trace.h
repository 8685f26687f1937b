// A recording of what each thread did and when. Off unless somebody records; then a Span costs two
// clock readings and one store.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace segrid {

struct TraceEvent {
    const char* name;  // a string literal
    int64_t begin;     // nanoseconds since the recording began
    int64_t duration;  // nanoseconds
    int64_t index;     // of the prompt, tile or crop; -1: none
    int thread;        // numbered in the order in which threads first recorded
};

namespace trace {

// At most this many events a recording (40 MB, twice that while it is read); what comes later is
// counted, not kept.
inline constexpr int64_t kMaxEvents = 1'000'000;

// Begins a recording; one at a time in a process (throws InvalidInput otherwise).
void start();
// Ends it: the events in order of their begin, and how many did not fit.
struct Recording {
    std::vector<TraceEvent> events;
    int64_t dropped = 0;
};
Recording stop();

extern std::atomic<bool> recording;
int64_t now();  // nanoseconds of the steady clock
void record(const char* name, int64_t begin, int64_t index);

}  // namespace trace

// Records the time from its construction to its end.
class Span {
public:
    explicit Span(const char* name, int64_t index = -1) : name_(name), index_(index) {
        if (trace::recording.load(std::memory_order_relaxed)) begin_ = trace::now();
    }
    ~Span() { end(); }
    // Ends it early; and the next one begins.
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
