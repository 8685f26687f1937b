#include "kernels/transfer/op.h"

#include <ATen/Functions.h>
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <array>
#include <cstring>
#include <map>
#include <mutex>

namespace segrid {
namespace {

// Memory of the host that a device reads and writes itself.
at::Tensor pinned(at::HostAllocator& allocator, int64_t bytes) {
    auto memory =
        std::make_shared<at::DataPtr>(allocator.allocate(static_cast<std::size_t>(bytes)));
    return at::from_blob(memory->get(), {bytes}, [memory](void*) {}, at::TensorOptions(at::kByte));
}

// The beginning of the bytes as a tensor of another's type and sizes.
at::Tensor as(const at::Tensor& bytes, const at::Tensor& like) {
    return bytes.narrow(0, 0, static_cast<int64_t>(like.nbytes()))
        .view(like.scalar_type())
        .view(like.sizes());
}

struct Buffer {
    at::Tensor memory;                         // [bytes], pinned
    std::shared_ptr<const c10::Event> copied;  // after the last copy from it
};

// The copies of a device: their stream, and the buffers of uploads.
struct Lane {
    Lane(c10::Stream stream_, at::HostAllocator& host_) : stream(stream_), host(host_) {}

    c10::Stream stream;
    at::HostAllocator& host;
    std::mutex mutex;  // of what follows
    std::array<Buffer, 2> buffers{};
    std::size_t next = 0;
};

// Nothing if the device's backend has no streams or no pinned memory.
std::unique_ptr<Lane> open_lane(c10::Device device) {
    if (device.is_cpu()) return nullptr;
    const c10::impl::VirtualGuardImpl backend(device.type());
    try {
        const c10::Stream stream = backend.getStreamFromGlobalPool(device);
        at::HostAllocator* host = at::getHostAllocator(device.type());
        if (host == nullptr || stream == backend.getStream(device)) return nullptr;
        return std::make_unique<Lane>(stream, *host);
    } catch (const c10::Error&) {
        return nullptr;
    }
}

// Lanes stay open until the process ends.
Lane* lane_of(c10::Device device) {
    static std::mutex mutex;
    static auto* lanes =
        new std::map<c10::Device, std::unique_ptr<Lane>, bool (*)(c10::Device, c10::Device)>(
            [](c10::Device a, c10::Device b) {
                return std::pair{a.type(), a.index()} < std::pair{b.type(), b.index()};
            });
    const std::lock_guard lock(mutex);
    const auto known = lanes->find(device);
    if (known != lanes->end()) return known->second.get();
    return lanes->emplace(device, open_lane(device)).first->second.get();
}

std::shared_ptr<const c10::Event> recorded(const c10::Stream& stream) {
    auto event = std::make_shared<c10::Event>(stream.device_type());
    event->record(stream);
    return event;
}

c10::Stream current(c10::Device device) {
    return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

// Says that work of the stream reads or writes the tensor, so that its memory is not given to
// others before.
void used_by(const at::Tensor& x, const c10::Stream& stream) {
    at::getDeviceAllocator(stream.device_type())->recordStream(x.storage().data_ptr(), stream);
}

}  // namespace

std::optional<c10::Stream> copy_stream(c10::Device device) {
    const Lane* lane = lane_of(device);
    return lane == nullptr ? std::nullopt : std::optional(lane->stream);
}

Upload::Upload(const at::Tensor& host, c10::Device device) : device_(device), value_(host) {
    Lane* lane = lane_of(device);
    if (lane == nullptr || host.nbytes() == 0) return;
    const std::lock_guard lock(lane->mutex);
    Buffer& buffer = lane->buffers[lane->next++ % lane->buffers.size()];
    if (buffer.copied != nullptr) buffer.copied->synchronize();
    const auto bytes = static_cast<int64_t>(host.nbytes());
    if (!buffer.memory.defined() || buffer.memory.size(0) < bytes)
        buffer.memory = pinned(lane->host, bytes);
    std::memcpy(buffer.memory.mutable_data_ptr(), host.const_data_ptr(), host.nbytes());
    const c10::StreamGuard guard(lane->stream);
    value_ = at::empty(host.sizes(), host.options().device(device));
    value_.copy_(as(buffer.memory, host), /*non_blocking=*/true);
    copied_ = buffer.copied = recorded(lane->stream);
}

at::Tensor Upload::arrived() const {
    if (copied_ == nullptr) return value_.to(device_);
    const c10::Stream stream = current(device_);
    copied_->block(stream);
    used_by(value_, stream);
    return value_;
}

Download::Download(const at::Tensor& value) : source_(value.contiguous()) {
    Lane* lane = lane_of(value.device());
    if (lane == nullptr || value.numel() == 0) {
        value_ = source_.to(at::kCPU);
        source_ = at::Tensor();
        return;
    }
    value_ = as(pinned(lane->host, static_cast<int64_t>(source_.nbytes())), source_);
    recorded(current(value.device()))->block(lane->stream);
    const c10::StreamGuard guard(lane->stream);
    used_by(source_, lane->stream);
    value_.copy_(source_, /*non_blocking=*/true);
    copied_ = recorded(lane->stream);
}

at::Tensor Download::arrived() const {
    if (copied_ != nullptr) copied_->synchronize();
    return value_;
}

}  // namespace segrid
