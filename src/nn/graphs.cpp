#include "nn/graphs.h"

#include <ATen/Functions.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <exception>
#include <mutex>
#include <set>
#include <sstream>

#include "core/thread_pool.h"
#include "kernels/transfer/op.h"

namespace segrid::plain {
namespace {

constexpr int64_t kLargestBucket = 16;
constexpr std::size_t kMostGraphs = 64;

struct Process {
    std::mutex mutex;
    GraphMaker maker;
    std::set<c10::DeviceType> without;  // devices that have no graphs
    GraphCounts counts;
    std::set<Graphs*> all;
};

Process& process() {
    static auto* one = new Process;  // its maker may need Python, which ends first
    return *one;
}

bool may_have_graphs(c10::Device device) {
    const std::lock_guard lock(process().mutex);
    return !device.is_cpu() && process().maker && process().counts.refused.empty() &&
           !process().without.contains(device.type());
}

std::unique_ptr<DeviceGraph> make_graph(c10::Device device) {
    if (!may_have_graphs(device)) return nullptr;
    std::unique_ptr<DeviceGraph> graph = process().maker(device);
    if (graph == nullptr) {
        const std::lock_guard lock(process().mutex);
        process().without.insert(device.type());
    }
    return graph;
}

// If memory ran out there may be enough later, or without graphs.
void refuse_unless_memory(const std::exception& error) {
    if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) return;
    const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
    const std::lock_guard lock(process().mutex);
    process().counts.refused =
        of_torch == nullptr ? error.what() : of_torch->what_without_backtrace();
}

// The stream on which a device's graphs are noted. Graphs can share memory only if it is the same
// for all of them, and nothing else may be asked of it meanwhile.
c10::Stream noting_stream(c10::Device device) {
    static auto* known = new std::map<std::pair<c10::DeviceType, int>, c10::Stream>;
    const std::pair key{device.type(), static_cast<int>(device.index())};
    const auto found = known->find(key);
    if (found != known->end()) return found->second;
    const c10::impl::VirtualGuardImpl backend(device.type());
    const std::optional<c10::Stream> copies = copy_stream(device);
    for (int i = 0; i < 64; ++i) {  // a backend gives the streams of a pool in turn
        const c10::Stream stream = backend.getStreamFromGlobalPool(device);
        if (stream != copies && stream != backend.getStream(device))
            return known->emplace(key, stream).first->second;
    }
    throw std::runtime_error("the device has no stream of its own for graphs");
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
    process().without.clear();
}

GraphCounts graph_counts() {
    const std::lock_guard lock(process().mutex);
    return process().counts;
}

Graphs::Graphs() {
    const std::lock_guard lock(process().mutex);
    process().all.insert(this);
}

Graphs::~Graphs() {
    const std::lock_guard lock(process().mutex);
    process().all.erase(this);
}

int64_t Graphs::bucket(c10::Device device, int64_t count) {
    if (count > kLargestBucket || !may_have_graphs(device)) return 0;
    int64_t size = 1;
    while (size < count) size *= 2;
    return size;
}

void Graphs::clear() {
    kept_.clear();
    inputs_.clear();
}

void Graphs::clear_all() {
    run_on_devices({}, [] {
        std::set<Graphs*> all;
        {
            const std::lock_guard lock(process().mutex);
            all = process().all;
        }
        for (Graphs* graphs : all) graphs->clear();
    });
}

Graphs::Tensors Graphs::operator()(const std::string& name, const Tensors& inputs,
                                   const Compute& compute) {
    const c10::Device device = device_of(inputs);
    if (!may_have_graphs(device)) return compute(inputs);
    std::string key = name;
    for (const at::Tensor& x : inputs) key.append(" ").append(described(x));
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
    try {
        kept.graph->launch(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
    } catch (const std::exception& error) {
        clear();
        refuse_unless_memory(error);
        return compute(inputs);
    }
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
        const c10::Stream apart = noting_stream(device), current = backend.getStream(device);
        current.native_handle();  // throws where launch() could not have it
        wait(apart, current);
        const c10::StreamGuard guard(apart);
        graph->begin(beside);
        kept.outputs = noted(*graph, [&] { return compute(kept.inputs); });
        kept.graph = std::move(graph);
    } catch (const std::exception& error) {
        clear();
        refuse_unless_memory(error);
        return false;
    }
    const std::lock_guard lock(process().mutex);
    ++process().counts.captured;
    return true;
}

}  // namespace segrid::plain
