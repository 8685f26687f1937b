// The fake device's pinned memory, streams, events and graphs.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace {

constexpr c10::DeviceType kFake = c10::DeviceType::PrivateUse1;
constexpr std::size_t kHeader = 64;  // bytes in front of a block of memory, and its alignment

// Pinned memory.
struct HostAllocator final : at::HostAllocator {
    c10::DataPtr allocate(std::size_t bytes) override {
        void* block = std::aligned_alloc(kHeader, (bytes + kHeader) / kHeader * kHeader);
        TORCH_CHECK(block != nullptr, "can't allocate memory");
        return {block, block, std::free, c10::Device(c10::kCPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return std::free; }
    void copy_data(void* to, const void* from, std::size_t count) const override {
        std::memcpy(to, from, count);
    }
    bool record_event(void*, void*, c10::Stream) override { return true; }
    void empty_cache() override {}
    at::HostStats get_stats() override { return {}; }
    void reset_accumulated_stats() override {}
    void reset_peak_stats() override {}
};

HostAllocator& host_allocator() {
    static HostAllocator one;
    return one;
}

// The copies of streams that are not done yet. Streams are numbered from 1; what is asked for on
// the default stream, 0, is done at once.
struct Streams {
    std::mutex mutex;
    std::deque<std::function<void()>> waiting;
    int64_t asked = 0, done = 0;  // numbers of copies
    std::set<c10::StreamId> used;

    void add(c10::StreamId stream, std::function<void()> copy) {
        const std::lock_guard lock(mutex);
        used.insert(stream);
        waiting.push_back(std::move(copy));
        ++asked;
    }
    void finish(int64_t until) {
        const c10::InferenceMode as_when_asked;
        const std::lock_guard lock(mutex);
        for (; done < until; ++done) {
            waiting.front()();
            waiting.pop_front();
        }
    }
};

Streams& streams() {
    static Streams one;
    return one;
}

thread_local c10::StreamId current_stream = 0;

// What a stream was asked to do, to be done again. While it is noted nothing counts as done: at its
// end all results become what new memory holds.
struct Graph {
    std::vector<std::function<void()>> steps;
    std::vector<at::Tensor> results;

    void note(std::function<void()> step, const at::Tensor& result) {
        steps.push_back(std::move(step));
        results.push_back(result);
    }
};

thread_local Graph* noting = nullptr;

void forbid_while_noting(const char* what) {
    TORCH_CHECK(noting == nullptr, "operation not permitted when stream is capturing: ", what);
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
    static c10::Device device() { return {kFake, 0}; }
    static c10::Stream stream(c10::StreamId id) {
        return c10::Stream(c10::Stream::UNSAFE, device(), id);
    }
    c10::DeviceType type() const override { return kFake; }
    c10::Device exchangeDevice(c10::Device) const override { return device(); }
    c10::Device getDevice() const override { return device(); }
    void setDevice(c10::Device) const override {}
    void uncheckedSetDevice(c10::Device) const noexcept override {}
    c10::DeviceIndex deviceCount() const noexcept override { return 1; }
    c10::Stream getStream(c10::Device) const override { return stream(current_stream); }
    c10::Stream getDefaultStream(c10::Device) const override { return stream(0); }
    // As CUDA does, in turn.
    c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override {
        static std::atomic<c10::StreamId> given{0};
        return stream(1 + given++ % 3);
    }
    c10::Stream exchangeStream(c10::Stream s) const override {
        return stream(std::exchange(current_stream, s.id()));
    }
    void* getStreamNativeHandle(const c10::Stream s) const override {
        return reinterpret_cast<void*>(s.id());
    }
    // An event is the number of copies that it comes behind.
    void record(void** event, const c10::Stream& s, c10::DeviceIndex,
                c10::EventFlag) const override {
        if (*event == nullptr) *event = new int64_t{0};
        const std::lock_guard lock(streams().mutex);
        *static_cast<int64_t*>(*event) = s.id() == 0 ? 0 : streams().asked;
    }
    void block(void* event, const c10::Stream& s) const override {
        if (s.id() == 0) synchronizeEvent(event);
    }
    bool queryEvent(void* event) const override {
        const std::lock_guard lock(streams().mutex);
        return *static_cast<int64_t*>(event) <= streams().done;
    }
    void synchronizeEvent(void* event) const override {
        streams().finish(*static_cast<int64_t*>(event));
    }
    void destroyEvent(void* event, c10::DeviceIndex) const noexcept override {
        delete static_cast<int64_t*>(event);
    }
};

}  // namespace
