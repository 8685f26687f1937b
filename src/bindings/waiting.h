// How a native call waits: without the GIL, waking to run Python callbacks and to notice Ctrl-C.
#pragma once

#include <c10/core/InferenceMode.h>
#include <pybind11/pybind11.h>

#include <vector>

#include "core/thread_pool.h"
#include "engine/progress.h"

namespace segrid::bindings {

namespace py = pybind11;

// Takes the GIL, lets Python handle signals and throws what that raised.
std::function<void()> poll_signals();
// Of a call from this thread: stopped by `cancel` and by every scope that the thread is in.
Schedule schedule_for(const CancelToken* cancel);
// `with token:` in this thread.
void enter_scope(const CancelToken& token);
void leave_scope(const CancelToken& token);
std::vector<CancelToken> scopes();  // that this thread is in, the innermost last
ProgressCallback progress_callback(const py::object& callback);

// Counts the threads between giving the GIL up and having it back. A thread that asks for the GIL
// while the interpreter ends is killed inside C++, which ends the process with an error; so the end
// of the process waits for them (see shut_down).
class WithoutGil {
public:
    WithoutGil();
    ~WithoutGil();
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;
};
// Cancels all work and joins the workers; close: for good, and waits until every call has left.
void shut_down(bool close);

bool process_is_ending();

// Runs body without the GIL; with it once the process is ending (what needs the pool then throws
// Cancelled). Tensors that it makes are plain ones also where the caller is in
// torch.inference_mode(), since other threads write into them.
template <class Body>
auto without_gil(const Body& body) {
    const c10::InferenceMode plain(false);
    if (process_is_ending()) return body();
    const WithoutGil counted;
    const py::gil_scoped_release release;  // ends first
    return body();
}

// Tells (RuntimeWarning) where a device's memory ran out on the way.
void warn_of_halving(const Stats& stats);

}  // namespace segrid::bindings
