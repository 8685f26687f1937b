// Computations of a device that are launched as one graph. A GPU is done with the hundreds of small
// operations of one prompt sooner than a thread can launch them one by one.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace segrid::plain {

// A graph of a torch backend. Whatever fails throws.
class DeviceGraph {
public:
    virtual ~DeviceGraph() = default;
    // From begin() to end() the current stream notes what it is asked to do, and does not do it.
    // Intermediate results may lie where `beside` has its own, which never runs at the same time.
    virtual void begin(const DeviceGraph* beside) = 0;
    virtual void end() = 0;
    virtual void launch(const c10::Stream& stream) const = 0;
};

// Makes graphs of a device; null if its backend has none. Called on the device thread, and may need
// the GIL: whoever waits for that thread must not hold it.
using GraphMaker = std::function<std::unique_ptr<DeviceGraph>(c10::Device)>;
void set_graph_maker(GraphMaker maker);

// What happened in this process. refused: why no graphs are made any more; empty: nothing failed.
struct GraphCounts {
    int64_t captured = 0, launched = 0;
    std::string refused;
};
GraphCounts graph_counts();

// The graphs of a model. Only the device thread uses them.
class Graphs {
public:
    using Tensors = std::vector<at::Tensor>;
    using Compute = std::function<Tensors(const Tensors& inputs)>;

    Graphs();
    ~Graphs();
    Graphs(const Graphs&) = delete;
    Graphs& operator=(const Graphs&) = delete;

    // The smallest of 1, 2, 4, 8 and 16 that holds `count`, to which a batch is padded so that few
    // graphs serve all. 0 if it holds more, because its operations take longer than their launches,
    // and where the device has no graphs.
    static int64_t bucket(c10::Device device, int64_t count);

    // Returns what `compute` makes of the inputs, some of which may be undefined. It must depend on
    // nothing else, and wait for no result. The first call for a name and inputs of some sizes
    // computes; from the second one on a graph is launched. The results may then be overwritten by
    // the next call, of any name. Where no graph can be made it always computes.
    Tensors operator()(const std::string& name, const Tensors& inputs, const Compute& compute);

    // Frees all graphs and their memory.
    void clear();
    // The same for all models, from any thread.
    static void clear_all();

private:
    struct Kept {
        std::unique_ptr<DeviceGraph> graph;  // null: computed once
        Tensors inputs, outputs;
    };

    bool capture(Kept& kept, const Tensors& inputs, const Compute& compute);

    std::map<std::string, Kept> kept_;
    std::map<std::string, at::Tensor> inputs_;  // what graphs read, shared by all of them
};

}  // namespace segrid::plain
