// How a native call waits: without the GIL, waking to run Python callbacks and to notice Ctrl-C.
#pragma once

#include <pybind11/pybind11.h>

#include "core/thread_pool.h"
#include "engine/progress.h"

namespace segrid::bindings {

namespace py = pybind11;

// Takes the GIL, lets Python handle signals and throws what that raised.
std::function<void()> poll_signals();
Schedule schedule_for(const CancelToken* cancel);
ProgressCallback progress_callback(const py::object& callback);

// Runs body without the GIL.
template <class Body>
auto without_gil(const Body& body) {
    const py::gil_scoped_release release;
    return body();
}

}  // namespace segrid::bindings
