// Graphs of devices, by way of Python: torch's CUDA graphs have no interface in C++ that does
// without CUDA's headers.
#include "nn/graphs.h"

#include <c10/core/DeviceGuard.h>
#include <c10/util/Exception.h>

#include "bindings/module.h"
#include "bindings/waiting.h"

namespace segrid::bindings {
namespace {

// A graph that an object of segrid._graphs makes. Python is needed to make it and not to launch it.
class PythonGraph final : public plain::DeviceGraph {
public:
    explicit PythonGraph(py::object object) : object_(std::move(object)) {}
    ~PythonGraph() override {
        if (process_is_ending()) {
            object_.release();  // Python has ended, or is about to
            return;
        }
        const py::gil_scoped_acquire gil;
        object_ = py::object();
    }

    void begin(const DeviceGraph* beside) override {
        const py::gil_scoped_acquire gil;
        const auto* other = dynamic_cast<const PythonGraph*>(beside);
        guarded([&] {
            object_.attr("begin")(other == nullptr ? py::object(py::none()) : other->object_);
        });
    }

    void end() override {
        const py::gil_scoped_acquire gil;
        guarded([&] {
            object_.attr("end")();
            const auto [function, graph] =
                object_.attr("launcher").cast<std::pair<std::uintptr_t, std::uintptr_t>>();
            launch_ = reinterpret_cast<int (*)(void*, void*)>(function);
            graph_ = reinterpret_cast<void*>(graph);
        });
    }

    void launch(const c10::Stream& stream) const override {
        const c10::DeviceGuard guard(stream.device());  // the default streams have one handle
        const int error = launch_(graph_, stream.native_handle());
        if (error == 0) return;
        const py::gil_scoped_acquire gil;
        std::string said;
        guarded([&] { said = object_.attr("failed")(error).cast<std::string>(); });
        constexpr int kMemoryAllocation = 2;  // as CUDA numbers it
        TORCH_CHECK_WITH(OutOfMemoryError, error != kMemoryAllocation, said);
        throw std::runtime_error("launching a graph: " + said);
    }

    // Python's exceptions must not leave the block that has the GIL.
    template <class Body>
    static void guarded(const Body& body) {
        std::string said;
        try {
            return body();
        } catch (py::error_already_set& error) {
            said = error.what();
        }
        throw std::runtime_error(said);
    }

private:
    py::object object_;
    int (*launch_)(void* graph, void* stream) = nullptr;
    void* graph_ = nullptr;
};

std::unique_ptr<plain::DeviceGraph> make(c10::Device device) {
    if (process_is_ending()) return nullptr;
    const py::gil_scoped_acquire gil;
    std::unique_ptr<plain::DeviceGraph> graph;
    PythonGraph::guarded([&] {
        py::object made = py::module_::import("segrid._graphs").attr("graph_of")(device.str());
        if (!made.is_none()) graph = std::make_unique<PythonGraph>(std::move(made));
    });
    return graph;
}

}  // namespace

void bind_graphs(py::module_ m) {
    plain::set_graph_maker(make);
    m.def(
        "device_graphs",
        [] {
            const plain::GraphCounts counts = plain::graph_counts();
            return py::dict(py::arg("captured") = counts.captured,
                            py::arg("launched") = counts.launched,
                            py::arg("refused") = counts.refused);
        },
        "The graphs of this process: how many were captured, how often they were launched, and why "
        "no more are made (empty: nothing failed).");
    m.def(
        "reset_device_graphs", [] { plain::set_graph_maker(make); },
        "Counts from zero, and tries again after a failure.");
}

}  // namespace segrid::bindings
