// How a native call waits: without the GIL, waking up to run Python callbacks and to notice Ctrl-C.
#pragma once

#include <c10/core/InferenceMode.h>
#include <pybind11/pybind11.h>

#include <vector>

#include "core/thread_pool.h"
#include "engine/progress.h"

namespace segrid::bindings {

namespace py = pybind11;

// Returns a function that takes the GIL, lets Python handle signals, and throws the exception that
// a handler raised.
std::function<void()> poll_signals();
// The schedule of a call from this thread. The call is stopped by `cancel` and by every token whose
// `with` the thread has entered.
Schedule schedule_for(const CancelToken* cancel);
// Enters and leaves `with token:` in this thread.
void enter_scope(const CancelToken& token);
void leave_scope(const CancelToken& token);
// The share of every later call from this thread (Schedule::fair_share). Returns the one before.
int set_fair_share(int workers);
// The tokens whose `with` this thread has entered, the innermost last.
std::vector<CancelToken> scopes();
ProgressCallback progress_callback(const py::object& callback);

// Counts the threads that have released the GIL and not taken it back yet. A thread that asks for
// the GIL while the interpreter ends is killed inside C++, which ends the process with an error.
// Therefore the end of the process waits for these threads (see shut_down).
class WithoutGil {
public:
    WithoutGil();
    ~WithoutGil();
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;
};
// Cancels all work and joins the workers. With close, the pool stays closed, and this waits until
// every call has returned.
void shut_down(bool close);

bool process_is_ending();

// Runs body without the GIL. Once the process is ending, it keeps the GIL, and a body that needs
// the pool throws Cancelled. Tensors made in body are ordinary ones even if the caller is in
// torch.inference_mode(), because other threads write into them.
template <class Body>
auto without_gil(const Body& body) {
    const c10::InferenceMode plain(false);
    if (process_is_ending()) return body();
    const WithoutGil counted;
    const py::gil_scoped_release release;  // destroyed before `counted`
    return body();
}

// Warns (RuntimeWarning) if a device's memory ran out during the call.
void warn_of_halving(const Stats& stats);

}  // namespace segrid::bindings
