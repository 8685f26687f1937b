#include <pybind11/stl.h>

#include "bindings/module.h"
#include "bindings/waiting.h"
#include "core/cpu.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/trace.h"
#include "engine/device.h"

namespace segrid::bindings {

void bind_runtime(py::module_ m) {
    m.def("set_threads", &set_threads, py::arg("n"));
    m.def("threads", &threads);
    m.def("available_cpus", &available_cpus);
    m.def(
        "device_memory",
        [](const std::string& device) {
            const DeviceMemory memory = without_gil([&] {
                const ResolvedDevice resolved = resolve_device(device);
                return resolved.plain ? device_memory(*resolved.plain) : DeviceMemory{};
            });
            return py::make_tuple(memory.now_mb, memory.peak_mb);
        },
        py::arg("device"),
        "Returns (MB of the device's memory that this process holds now, the most it has held). "
        "Both are 0 on the CPU.");
    m.def(
        "resolve_device",
        [](const std::string& request) {
            return without_gil([&] { return resolve_device(request).name; });
        },
        py::arg("request"),
        "Returns the device that a request stands for on this machine. Raises NotImplementedError "
        "if the machine does not have it, and ValueError for an unknown name.");
    m.def("cpu_model", &cpu_model);
    m.def("cpu_features", [] {
        const CpuFeatures& f = cpu_features();
        py::dict d;
        d["avx2"] = f.avx2;
        d["avx512"] = f.avx512;
        d["avx512_vnni"] = f.avx512_vnni;
        d["avx512_bf16"] = f.avx512_bf16;
        d["amx"] = f.amx;
        return d;
    });
    m.def(
        "cpu_mask",
        [] {
            const CpuMask& mask = cpu_mask();
            py::dict d;
            d["level"] = mask.level;
            d["masked"] = mask.masked;
            return d;
        },
        "Returns the effect of SEGRID_CPU: {\"level\": its value, \"masked\": features of this CPU "
        "that are not used}. Raises ValueError for a level that is unknown or that this CPU "
        "lacks.");
    m.def("force_kernels", &force_kernels, py::arg("request"));
    m.def("kernel_choices", [] {
        py::list list;
        for (const KernelChoice& c : kernel_choices()) {
            py::dict d;
            d["op"] = c.op;
            d["chosen"] = c.chosen;
            d["available"] = c.available;
            list.append(d);
        }
        return list;
    });
    m.def("build_info", [] {
        py::dict d;
        d["version"] = SEGRID_VERSION;
        d["compiler"] = __VERSION__;
        d["torch"] = SEGRID_TORCH_VERSION;
#ifdef SEGRID_OPENCV
        d["opencv"] = true;
#else
        d["opencv"] = false;
#endif
        return d;
    });
    m.def("trace_start", &trace::start,
          "Begins a recording of what each worker does. Only one can run at a time.");
    m.def(
        "trace_stop",
        [] {
            const trace::Recording recording = trace::stop();
            py::list events;
            for (const TraceEvent& e : recording.events)
                events.append(py::make_tuple(e.name, e.begin, e.duration, e.index, e.thread));
            return py::make_tuple(events, recording.dropped);
        },
        "Ends the recording. Returns ([(name, begin in ns, duration in ns, index, thread)], number "
        "of events that did not fit).");
    m.def("shutdown", &shut_down, py::arg("close") = false,
          "Cancels running work and joins the workers. The pool starts again at its next use, "
          "unless close is true.");
    py::class_<CancelToken>(
        m, "CancelToken",
        "Stops calls from another thread. Pass it as cancel=, or make the calls inside `with "
        "token:`, which applies to the thread that enters it; then call cancel(). The calls raise "
        "segrid.Cancelled at the next tile. A cancelled token stays cancelled.")
        .def(py::init<>())
        .def("cancel", &CancelToken::cancel, "Stops every call that uses this token.")
        .def_property_readonly("cancelled", &CancelToken::cancelled,
                               "Whether cancel() has been called.")
        .def_static("scopes", &scopes,
                    "The tokens whose `with` this thread has entered, the innermost last.")
        .def("__enter__",
             [](const CancelToken& token) {
                 enter_scope(token);
                 return token;
             })
        .def("__exit__", [](const CancelToken& token, const py::args&) { leave_scope(token); });
    m.def("give_back_memory", &give_back_memory, py::call_guard<py::gil_scoped_release>(),
          "Gives free pages, which the C library would keep for later, back to the system.");
}

}  // namespace segrid::bindings
