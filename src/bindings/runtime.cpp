#include <ATen/Functions.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "bindings/module.h"
#include "bindings/waiting.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "core/trace.h"
#include "engine/device.h"
#include "kernels/gemm/narrow.h"
#include "kernels/gemm/op.h"
#include "kernels/gemm/rate.h"

namespace segrid::bindings {

namespace {

void bind_threads(py::module_& m) {
    m.def("set_threads", &set_threads, py::arg("n"));
    m.def("set_fair_share", &set_fair_share, py::arg("workers"),
          "While other threads' calls have work for a worker, this thread's calls use at most so "
          "many (0: no share). Returns the number before.");
    m.def("threads", &threads);
    m.def("available_cpus", &available_cpus);
    m.def("shutdown", &shut_down, py::arg("close") = false,
          "Cancels running work and joins the workers. The pool starts again when it is used "
          "again, unless close.");
    m.def("give_back_memory", &give_back_memory, py::call_guard<py::gil_scoped_release>(),
          "Gives free pages, which the C library would keep for later, back to the system.");
}

void bind_devices(py::module_& m) {
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
        "reset_device_peak",
        [](const std::string& device) {
            without_gil([&] {
                const ResolvedDevice resolved = resolve_device(device);
                if (resolved.plain) reset_peak_memory(*resolved.plain);
            });
        },
        py::arg("device"), "Makes the memory that this process holds now the most it has held.");
    m.def(
        "resolve_device",
        [](const std::string& request) {
            return without_gil([&] { return resolve_device(request).name; });
        },
        py::arg("request"),
        "Returns the device that a request stands for on this machine. Raises NotImplementedError "
        "if the machine does not have it, and ValueError for an unknown name.");
}

void bind_cpu(py::module_& m) {
    m.def("cpu_model", &cpu_model);
    m.def("cpu_features", [] {
        const CpuFeatures& f = cpu_features();
        py::dict d;
        d["avx2"] = f.avx2;
        d["avx_vnni"] = f.avx_vnni;
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
    m.def("int8_is_narrow", &narrow_is_faster,
          "Whether int8 rounds weights more coarsely on this CPU, which has AVX2 and no VNNI.");
    m.def(
        "quantise",
        [](const py::array_t<float, py::array::c_style | py::array::forcecast>& weight,
           std::optional<bool> narrow) {
            if (weight.ndim() != 2) invalid("quantise: a weight has two dimensions");
            const QuantisedWeight w =
                segrid::quantise(at::from_blob(const_cast<float*>(weight.data()),
                                               {weight.shape(0), weight.shape(1)}, at::kFloat),
                                 narrow.value_or(narrow_is_faster()));
            py::array_t<int8_t> values({weight.shape(0), weight.shape(1)});
            py::array_t<float> scales(weight.shape(0));
            std::copy_n(w.values.const_data_ptr<int8_t>(), values.size(), values.mutable_data());
            std::copy_n(w.scales.const_data_ptr<float>(), scales.size(), scales.mutable_data());
            return py::make_tuple(values, scales);
        },
        py::arg("weight"), py::arg("narrow") = py::none(),
        "Returns (values, scales) of a (N, K) weight in int8: row n is scales[n] * values[n]. "
        "narrow: None for what a model has on this CPU.");
    m.def("force_kernels", &force_kernels, py::arg("request"));
    m.def("check_kernels", &check_kernels,
          "Raises ValueError where SEGRID_KERNELS names an op or an implementation that is not "
          "there.");
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
}

void bind_build_info(py::module_& m) {
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
}

Precision of_products(const std::string& name) {
    if (name == "fp32") return Precision::Fp32;
    if (name == "bf16") return Precision::Bf16;
    if (name == "int8") return Precision::Int8;
    invalid("precision: products are in 'fp32', 'bf16' or 'int8', got '" + name + "'");
}

// {precision: multiply-adds}, without those that are 0.
py::dict by_precision(const MultiplyAdds& products) {
    py::dict of_names;
    const auto put = [&](const char* name, Precision precision) {
        if (const int64_t count = products[static_cast<std::size_t>(precision)]; count > 0)
            of_names[name] = count;
    };
    put("fp32", Precision::Fp32);
    put("bf16", Precision::Bf16);
    put("int8", Precision::Int8);
    put("int8-torch", Precision::Int8Torch);
    return of_names;
}

void bind_trace(py::module_& m) {
    m.def("trace_start", &trace::start,
          "Begins a recording of what each worker does. Only one can run at a time.");
    m.def(
        "trace_stop",
        [] {
            const trace::Recording recording = trace::stop();
            py::list events;
            std::map<std::string, MultiplyAdds> by_name;
            for (const TraceEvent& e : recording.events) {
                events.append(py::make_tuple(e.name, e.begin, e.duration, e.index, e.thread));
                MultiplyAdds& total = by_name[e.name];
                for (std::size_t i = 0; i < total.size(); ++i) total[i] += e.products[i];
            }
            py::dict products;
            for (const auto& [name, total] : by_name) {
                if (py::dict own = by_precision(total); !own.empty()) products[name.c_str()] = own;
            }
            return py::make_tuple(events, products, recording.dropped);
        },
        "Ends the recording. Returns ([(name, begin in ns, duration in ns, index, thread)], "
        "{name: {precision: multiply-adds}}, number of events that did not fit).");
    m.def(
        "product_rate",
        [](const std::string& precision, double seconds) {
            const Precision factors = of_products(precision);
            const Schedule schedule = schedule_for(nullptr);
            return without_gil([&] { return product_rate(factors, seconds, schedule); });
        },
        py::arg("precision"), py::arg("seconds") = 0.05,
        "GFLOP/s that all threads together reach in matrix products ('fp32', 'bf16', 'int8') whose "
        "factors lie in the caches. Takes about so many seconds.");
}

void bind_cancel_token(py::module_& m) {
    py::class_<CancelToken>(m, "CancelToken",
                            "Stops calls from another thread: pass it as cancel=, or make the "
                            "calls inside `with token:` (which holds for the thread that "
                            "enters it), then call cancel(). They raise segrid.Cancelled at the "
                            "next tile; a token stays cancelled.")
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
}

}  // namespace

void bind_runtime(py::module_ m) {
    bind_threads(m);
    bind_devices(m);
    bind_cpu(m);
    bind_build_info(m);
    bind_trace(m);
    bind_cancel_token(m);
}

}  // namespace segrid::bindings
