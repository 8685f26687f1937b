#include "bindings/waiting.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

namespace segrid::bindings {

namespace {

std::atomic<int> inside{0};
std::atomic<bool> ending{false};
thread_local std::vector<CancelToken> entered;
thread_local int fair_share = 0;

}  // namespace

WithoutGil::WithoutGil() {
    // The other threads do not exist in a forked child.
    static const int registered = pthread_atfork(nullptr, nullptr, [] { inside = 0; });
    (void)registered;
    ++inside;
}

bool process_is_ending() { return ending; }

WithoutGil::~WithoutGil() { --inside; }

void shut_down(bool close) {
    if (close) ending = true;
    const py::gil_scoped_release release;
    shutdown_pool(close);
    for (int i = 0; close && inside > 0 && i < 5000; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

std::function<void()> poll_signals() {
    return [] {
        const py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    };
}

Schedule schedule_for(const CancelToken* cancel) {
    Schedule schedule;
    schedule.fair_share = fair_share;
    std::vector<CancelToken> tokens = entered;
    if (cancel != nullptr) tokens.push_back(*cancel);
    if (tokens.empty()) {
        schedule.poll = poll_signals();
        return schedule;
    }
    for (const CancelToken& token : tokens) token.check();
    // The pool checks this token before every task. The waiting thread checks the others every 20
    // ms.
    schedule.cancel = tokens.back();
    tokens.pop_back();
    schedule.poll = [signals = poll_signals(), tokens] {
        for (const CancelToken& token : tokens) token.check();
        signals();
    };
    return schedule;
}

void enter_scope(const CancelToken& token) { entered.push_back(token); }

void leave_scope(const CancelToken& token) {
    const auto last = std::find(entered.rbegin(), entered.rend(), token);
    if (last != entered.rend()) entered.erase(std::next(last).base());
}

int set_fair_share(int workers) { return std::exchange(fair_share, workers); }

std::vector<CancelToken> scopes() { return entered; }

ProgressCallback progress_callback(const py::object& callback) {
    if (callback.is_none()) return {};
    // The call's own argument keeps the callback alive for as long as the call runs. A plain handle
    // is therefore enough, and copying it needs no GIL.
    return [callback = callback.ptr()](const Progress& p) {
        const py::gil_scoped_acquire gil;
        py::dict info;
        info["stage"] = p.stage;
        info["done"] = p.done;
        info["total"] = p.total;
        info["kept"] = p.kept;
        info["elapsed"] = p.elapsed;
        info["memory_mb"] = p.memory_mb;
        py::reinterpret_borrow<py::object>(callback)(info);
    };
}

void warn_of_halving(const Stats& stats) {
    const auto warn = [](int64_t times, const char* what, int64_t size) {
        if (times == 0) return;
        const std::string text = "memory ran out " + std::to_string(times) +
                                 (times == 1 ? " time" : " times") + ", and " + what +
                                 " went in batches of " + std::to_string(size) +
                                 "; the results are complete";
        if (PyErr_WarnEx(PyExc_RuntimeWarning, text.c_str(), 1) != 0) throw py::error_already_set();
    };
    warn(stats.halved, "prompts", stats.batch_size);
    warn(stats.images_halved, "images", stats.image_batch_size);
}

}  // namespace segrid::bindings
