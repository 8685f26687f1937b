#include "nn/graphs.h"

#include <ATen/Functions.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <exception>
#include <mutex>
#include <sstream>

namespace segrid::plain {
namespace {

constexpr int64_t kLargestBucket = 16;
constexpr std::size_t kMostGraphs = 64;

struct Process {
    std::mutex mutex;
    GraphMaker maker;
    GraphCounts counts;
};

Process& process() {
    static auto* one = new Process;  // its maker may need Python, which ends first
    return *one;
}

std::unique_ptr<DeviceGraph> make_graph(c10::Device device) {
    GraphMaker maker;
    {
        const std::lock_guard lock(process().mutex);
        if (!process().counts.refused.empty()) return nullptr;
        maker = process().maker;
    }
    return maker ? maker(device) : nullptr;
}

std::string described(const at::Tensor& x) {
    if (!x.defined()) return "none";
    std::ostringstream text;
    text << x.scalar_type() << x.sizes();
    return text.str();
}

c10::Device device_of(const Graphs::Tensors& inputs) {
    for (const at::Tensor& x : inputs)
        if (x.defined()) return x.device();
    return c10::kCPU;
}

// Makes `later` wait for what `earlier` was asked to do until now.
void wait(const c10::Stream& later, const c10::Stream& earlier) {
    c10::Event event(earlier.device_type());
    event.record(earlier);
    event.block(later);
}

// Ends the graph behind what `body` asks for. Without an end the stream would go on noting.
template <class Body>
Graphs::Tensors noted(DeviceGraph& graph, const Body& body) {
    Graphs::Tensors results;
    try {
        results = body();
    } catch (...) {
        const std::exception_ptr first = std::current_exception();
        try {
            graph.end();
        } catch (const std::exception&) {  // the first error says more
        }
        std::rethrow_exception(first);
    }
    graph.end();
    return results;
}

}  // namespace

void set_graph_maker(GraphMaker maker) {
    const std::lock_guard lock(process().mutex);
    process().maker = std::move(maker);
    process().counts = {};
}

GraphCounts graph_counts() {
    const std::lock_guard lock(process().mutex);
    return process().counts;
}

int64_t Graphs::bucket(int64_t count) {
    for (int64_t size = 1; size <= kLargestBucket; size *= 2)
        if (count <= size) return size;
    return 0;
}

void Graphs::clear() {
    kept_.clear();
    inputs_.clear();
}

Graphs::Tensors Graphs::operator()(const std::string& name, const Tensors& inputs,
                                   const Compute& compute) {
    const c10::Device device = device_of(inputs);
    if (device.is_cpu()) return compute(inputs);
    std::string key = name;
    for (const at::Tensor& x : inputs) key += " " + described(x);
    const auto known = kept_.find(key);
    if (known == kept_.end()) {
        Tensors results = compute(inputs);
        if (kept_.size() >= kMostGraphs) clear();
        kept_[key];
        return results;
    }
    Kept& kept = known->second;
    if (kept.graph == nullptr && !capture(kept, inputs, compute)) return compute(inputs);
    for (std::size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i].defined()) kept.inputs[i].copy_(inputs[i], /*non_blocking=*/true);
    kept.graph->launch(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
    const std::lock_guard lock(process().mutex);
    ++process().counts.launched;
    return kept.outputs;
}

bool Graphs::capture(Kept& kept, const Tensors& inputs, const Compute& compute) {
    const c10::Device device = device_of(inputs);
    try {
        std::unique_ptr<DeviceGraph> graph = make_graph(device);
        if (graph == nullptr) return false;
        const DeviceGraph* beside = nullptr;
        for (const auto& [key, other] : kept_)
            if (other.graph != nullptr) beside = other.graph.get();
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            at::Tensor& own = inputs_[std::to_string(i) + " " + described(inputs[i])];
            if (!own.defined() && inputs[i].defined()) own = at::empty_like(inputs[i]);
            kept.inputs.push_back(own);
        }
        const c10::impl::VirtualGuardImpl backend(device.type());
        const c10::Stream apart = backend.getStreamFromGlobalPool(device),
                          current = backend.getStream(device);
        current.native_handle();  // throws where launch() could not have it
        wait(apart, current);
        const c10::StreamGuard guard(apart);
        graph->begin(beside);
        kept.outputs = noted(*graph, [&] { return compute(kept.inputs); });
        kept.graph = std::move(graph);
    } catch (const std::exception& error) {
        clear();
        const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
        const std::lock_guard lock(process().mutex);
        process().counts.refused =
            of_torch == nullptr ? error.what() : of_torch->what_without_backtrace();
        return false;
    }
    const std::lock_guard lock(process().mutex);
    ++process().counts.captured;
    return true;
}

}  // namespace segrid::plain
