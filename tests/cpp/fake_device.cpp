// A device that lets the CUDA code paths be tested without a GPU. It is a backend of torch whose
// memory is the CPU's. Like CUDA, it refuses an operation on tensors of two devices, its allocator
// can run out of memory, and it keeps only data that was copied to it. A copy on another stream
// than the default one is done as late as a GPU may do it: when something waits for an event behind
// it. Tests load it by ctypes; its name is "fake".
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "fake_streams.h"

namespace {

std::atomic<int64_t> limit{int64_t{2} << 30}, hidden{0}, cached{0}, held{0}, peak{0}, emptied{0};
// Whether everything so far ran in inference mode and without TF32.
std::atomic<bool> exact{true};
// Whether memory runs out with cuBLAS's error instead of the allocator's.
std::atomic<bool> from_cublas{false};
std::mutex threads_mutex;
std::set<std::thread::id> threads;    // the threads that ran operations
std::atomic<int64_t> copied_back{0};  // bytes from the device to the CPU
std::atomic<int64_t> convolutions{0}, operations{0};

struct Block {
    int64_t bytes;
};

void release(void* block) {
    held -= static_cast<Block*>(block)->bytes;
    std::free(block);
}

struct Allocator final : c10::DeviceAllocator {
    c10::DataPtr allocate(std::size_t bytes) override {
        const int64_t now = held += static_cast<int64_t>(bytes);
        if (now > limit) {
            held -= static_cast<int64_t>(bytes);
            TORCH_CHECK(
                !from_cublas,
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`");
            TORCH_CHECK_WITH(OutOfMemoryError, false, "fake out of memory. Tried to allocate ",
                             bytes, " bytes");
        }
        for (int64_t p = peak; now > p && !peak.compare_exchange_weak(p, now);) {
        }
        void* block = std::aligned_alloc(kHeader, (bytes + 2 * kHeader - 1) / kHeader * kHeader);
        TORCH_CHECK(block != nullptr, "can't allocate memory");
        static_cast<Block*>(block)->bytes = static_cast<int64_t>(bytes);
        std::memset(static_cast<char*>(block) + kHeader, 0xFF, bytes);  // no number before a copy
        return {static_cast<char*>(block) + kHeader, block, release, c10::Device(kFake, 0)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
    void copy_data(void* to, const void* from, std::size_t count) const override {
        std::memcpy(to, from, count);
    }
    bool initialized() override { return true; }
    void emptyCache(c10::MempoolId_t) override { ++emptied; }
    void recordStream(const c10::DataPtr&, c10::Stream) override {}
    c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override {
        c10::CachingDeviceAllocator::DeviceStats stats;
        const auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
        stats.allocated_bytes[all].current = held;
        stats.reserved_bytes[all].current = held + cached;
        stats.allocated_bytes[all].peak = peak;
        return stats;
    }
    void resetAccumulatedStats(c10::DeviceIndex) override {}
    void resetPeakStats(c10::DeviceIndex) override { peak = held.load(); }
    std::pair<std::size_t, std::size_t> getMemoryInfo(c10::DeviceIndex) override {
        return {static_cast<std::size_t>(std::max<int64_t>(0, limit + hidden - held - cached)),
                static_cast<std::size_t>(limit)};
    }
};

Allocator& allocator() {
    static Allocator one;
    return one;
}

const bool registered = [] {
    c10::register_privateuse1_backend("fake");
    c10::SetAllocator(kFake, &allocator());
    at::setHostAllocator(kFake, &host_allocator());
    return true;
}();

// The same memory as a CPU tensor.
at::Tensor on_cpu(const at::Tensor& x) {
    return at::from_blob(
        x.data_ptr(), x.sizes(), x.strides(), [x](void*) {}, at::TensorOptions(x.scalar_type()));
}

at::Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
    return at::detail::empty_generic(size, &allocator(),
                                     c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                     type.value_or(at::kFloat), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride,
                         std::optional<at::ScalarType> type, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
    return at::detail::empty_strided_generic(size, stride, &allocator(),
                                             c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                             type.value_or(at::kFloat));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
    if (from.is_cpu() || to.is_cpu()) forbid_while_noting("a copy to or from the host");
    if (to.is_cpu()) copied_back += static_cast<int64_t>(from.nbytes());
    const auto copy = [from, to] {
        at::Tensor target = to.is_cpu() ? to : on_cpu(to);
        target.copy_(from.is_cpu() ? from : on_cpu(from));
    };
    if (noting != nullptr) noting->note(copy, to);
    if (non_blocking && current_stream != 0) streams().add(current_stream, copy);
    else copy();
    return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
    if (from.sizes() != to.sizes()) {
        TORCH_CHECK(!to.is_cpu(), "fake: only its own tensors are resized");
        const at::Tensor fresh = empty(from.sizes(), to.scalar_type(), {}, {}, {}, {});
        to.unsafeGetTensorImpl()->set_storage_keep_dtype(fresh.storage());
        to.unsafeGetTensorImpl()->set_sizes_contiguous(from.sizes());
    }
    return copy_from(from, to, false);
}

at::Scalar local_scalar(const at::Tensor& x) {
    forbid_while_noting("reading a number");
    copied_back += static_cast<int64_t>(x.nbytes());
    return on_cpu(x).item();
}

at::Tensor strided_view(const at::Tensor& x, c10::IntArrayRef size, c10::IntArrayRef stride,
                        std::optional<int64_t> offset) {
    at::Tensor out = at::detail::make_tensor<c10::TensorImpl>(
        c10::TensorImpl::VIEW, c10::Storage(x.storage()), x.key_set(), x.dtype());
    out.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride,
                                                     offset.value_or(x.storage_offset()));
    return out;
}

at::Tensor reshaped_view(const at::Tensor& x, c10::IntArrayRef asked) {
    // Throws if the strides do not allow it.
    const at::Tensor seen = on_cpu(x).view(asked);
    return strided_view(x, seen.sizes(), seen.strides(), {});
}

at::Tensor reshape_alias(const at::Tensor& x, c10::IntArrayRef size, c10::IntArrayRef stride) {
    return strided_view(x, size, stride, {});
}

void on_this_device(const at::Tensor& x, const std::string& operation) {
    TORCH_CHECK(!x.defined() || x.dim() == 0 || x.device().type() == kFake,
                "Expected all tensors to be on the same device, but found one on ", x.device(),
                " and others on fake: ", operation);
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, c10::IntArrayRef stride,
                       c10::IntArrayRef padding, c10::IntArrayRef dilation, bool transposed,
                       c10::IntArrayRef output_padding, int64_t groups) {
    for (const at::Tensor& t : {x, weight, bias.value_or(at::Tensor())})
        on_this_device(t, "convolution");
    ++convolutions;
    const at::Tensor own = bias && bias->defined() ? on_cpu(*bias) : at::Tensor();
    const auto compute = [=, strides = stride.vec(), padded = padding.vec(),
                          dilated = dilation.vec(), more = output_padding.vec()] {
        return at::convolution(on_cpu(x), on_cpu(weight), own, strides, padded, dilated, transposed,
                               more, groups);
    };
    Graph* graph = std::exchange(noting, nullptr);
    at::Tensor result = compute().to(x.device());
    noting = graph;
    if (noting != nullptr) noting->note([=] { on_cpu(result).copy_(compute()); }, result);
    return result;
}

int64_t sdp_choice(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                   const std::optional<at::Tensor>&, double, bool, std::optional<double>, bool) {
    return 0;  // the definition
}

std::vector<at::Tensor> tensors_of(const torch::jit::Stack& values) {
    std::vector<at::Tensor> all;
    for (const c10::IValue& v : values) {
        if (v.isTensor()) all.push_back(v.toTensor());
        if (v.isTensorList())
            for (const at::Tensor& x : v.toTensorVector()) all.push_back(x);
    }
    return all;
}

void note(const c10::OperatorHandle& op, const torch::jit::Stack& asked,
          c10::ArrayRef<c10::IValue> answered) {
    const std::vector<at::Tensor> results = tensors_of(answered.vec());
    const auto again = [op, asked, results] {
        torch::jit::Stack stack = asked;
        at::native::cpu_fallback(op, &stack);
        const std::vector<at::Tensor> fresh = tensors_of(stack);
        for (std::size_t i = 0; i < results.size(); ++i)
            if (fresh[i].data_ptr() != results[i].data_ptr())
                on_cpu(results[i]).copy_(on_cpu(fresh[i]));
    };
    for (const at::Tensor& x : results) noting->note([] {}, x);
    noting->steps.back() = again;
}

// Computes on the CPU. As on CUDA, all tensors except single numbers must lie on the device.
void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
    for (const c10::IValue& v : torch::jit::last(*stack, op.schema().arguments().size())) {
        if (v.isTensor()) on_this_device(v.toTensor(), op.schema().name());
        if (v.isTensorList()) {
            for (const at::Tensor& x : v.toTensorVector()) on_this_device(x, op.schema().name());
        }
    }
    exact = exact && c10::InferenceMode::is_enabled() && at::NoTF32Guard::should_disable_tf32();
    {
        const std::lock_guard lock(threads_mutex);
        threads.insert(std::this_thread::get_id());
    }
    ++operations;
    const int64_t before = copied_back;
    Graph* graph = std::exchange(noting, nullptr);  // the copies made here are not the caller's
    const torch::jit::Stack asked(stack->end() - op.schema().arguments().size(), stack->end());
    at::native::cpu_fallback(op, stack);
    copied_back = before;
    noting = graph;
    if (noting != nullptr) note(op, asked, torch::jit::last(*stack, op.schema().returns().size()));
}

}  // namespace

namespace c10::impl {
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
    m.impl("empty.memory_format", empty);
    m.impl("empty_strided", empty_strided);
    m.impl("_copy_from", copy_from);
    m.impl("_copy_from_and_resize", copy_from_and_resize);
    m.impl("_local_scalar_dense", local_scalar);
    m.impl("as_strided", strided_view);
    m.impl("view", reshaped_view);
    m.impl("_reshape_alias", reshape_alias);
    m.impl("convolution_overrideable", convolution);
    m.impl("_fused_sdp_choice", sdp_choice);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
    m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

extern "C" {
__attribute__((visibility("default"))) void fake_limit(int64_t bytes) { limit = bytes; }
// Reports this many more bytes as free than there are.
__attribute__((visibility("default"))) void fake_lie(int64_t bytes) { hidden = bytes; }
// Keeps this many bytes for later, as torch's CUDA allocator does.
__attribute__((visibility("default"))) void fake_cache(int64_t bytes) { cached = bytes; }
__attribute__((visibility("default"))) int64_t fake_held() { return held; }
__attribute__((visibility("default"))) int64_t fake_emptied() { return emptied; }
// Lets memory run out with cuBLAS's error instead of the allocator's.
__attribute__((visibility("default"))) void fake_from_cublas(int64_t yes) {
    from_cublas = yes != 0;
}
// The number of threads that have run operations; negative if one of them was not in inference mode
// or would have used TF32.
__attribute__((visibility("default"))) int64_t fake_threads() {
    const std::lock_guard lock(threads_mutex);
    return exact ? static_cast<int64_t>(threads.size()) : -1;
}
// The copies on streams so far.
__attribute__((visibility("default"))) int64_t fake_stream_copies() {
    const std::lock_guard lock(streams().mutex);
    return streams().asked;
}
// Notes what this thread asks for from now on, as CUDA on another stream than the default one only,
// and on none that other threads copy on. Returns whether it does.
__attribute__((visibility("default"))) int64_t fake_graph_begin() {
    const std::lock_guard lock(streams().mutex);
    if (current_stream == 0 || noting != nullptr || streams().used.contains(current_stream))
        return 0;
    noting = new Graph;
    return 1;
}
__attribute__((visibility("default"))) void* fake_graph_end() {
    Graph* graph = std::exchange(noting, nullptr);
    for (const at::Tensor& x : graph->results) std::memset(x.data_ptr(), 0xFF, x.nbytes());
    return graph;
}
__attribute__((visibility("default"))) int fake_graph_launch(void* graph, void* stream) {
    if (stream != nullptr) return 1;  // the default stream's handle, as in CUDA
    ++operations;
    for (const auto& step : static_cast<Graph*>(graph)->steps) step();
    return 0;
}
__attribute__((visibility("default"))) void fake_graph_free(void* graph) {
    delete static_cast<Graph*>(graph);
}
// Operations that were launched since the last call of this function; a graph is one.
__attribute__((visibility("default"))) int64_t fake_operations() { return operations.exchange(0); }
// Convolutions since the last call of this function.
__attribute__((visibility("default"))) int64_t fake_convolutions() {
    return convolutions.exchange(0);
}
// Bytes copied from the device since the last call of this function.
__attribute__((visibility("default"))) int64_t fake_copied_back() {
    return copied_back.exchange(0);
}
}
