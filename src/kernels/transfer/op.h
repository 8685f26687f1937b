// Copies between the host and a device beside what the device computes: on a stream of their own,
// from and to pinned memory. Where a backend of torch has no streams, copies are ordinary ones. It
// is torch's interface to any backend; nothing is compiled against CUDA.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <memory>
#include <optional>

namespace segrid {

// The stream of a device's copies; empty if its backend has no streams or no pinned memory.
std::optional<c10::Stream> copy_stream(c10::Device device);

// A tensor of the host on its way to a device. Made by any thread.
class Upload {
public:
    // Copies `host`, which must be contiguous, to one of the device's two pinned buffers, and
    // begins the copy to the device. The buffers are used in turn: while one is copied the next
    // tensor fills the other. Without streams nothing is copied yet, and `host` must live until
    // arrived().
    Upload(const at::Tensor& host, c10::Device device);
    // The tensor on the device. What the calling thread's stream computes from now on comes after
    // the copy; the thread itself does not wait.
    at::Tensor arrived() const;

private:
    c10::Device device_;
    at::Tensor value_;
    std::shared_ptr<const c10::Event> copied_;  // null: value_ is on the host
};

// A tensor of a device on its way to the host. Made by the device thread.
class Download {
public:
    // Begins the copy, which comes after what the calling thread's stream computes until now.
    explicit Download(const at::Tensor& value);
    // Waits for the copy. Any thread.
    at::Tensor arrived() const;

private:
    at::Tensor source_, value_;                 // source_ lives until the copy is over
    std::shared_ptr<const c10::Event> copied_;  // null: it is over
};

}  // namespace segrid
