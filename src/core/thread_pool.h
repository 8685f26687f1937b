// One pool and one thread budget for the process.
//
// Work is a parallel_for. Its caller waits (without computing), wakes every few milliseconds to
// poll, and gets the first exception of any task. Inside a task every library runs single-threaded
// and a nested parallel_for runs inline, or shares its tasks with workers that have nothing to do
// (Schedule::share), so there are never more runnable threads than the budget. What a task computes
// must not depend on which worker runs it: results have the same bits for any thread count.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "core/arena.h"

namespace segrid {

// Set by anybody, checked between tiles. Copies share the flag.
class CancelToken {
public:
    CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}
    void cancel() const { flag_->store(true, std::memory_order_relaxed); }
    bool cancelled() const { return flag_->load(std::memory_order_relaxed); }
    bool operator==(const CancelToken& other) const { return flag_ == other.flag_; }
    void check() const;  // throws Cancelled

private:
    std::shared_ptr<std::atomic<bool>> flag_;
};

// What a task may use: its worker's number in [0, budget) and its worker's scratch memory.
struct Worker {
    int index = 0;
    Arena arena;
};

// How one call uses the pool.
struct Schedule {
    int max_workers = 0;  // 0: the whole budget
    bool share = false;   // a parallel_for inside a task enlists idle workers: for calls that have
                          // fewer tasks than workers
    CancelToken cancel;   // checked before every task
    std::function<void()>
        poll;  // runs on the calling thread, at least every 20 ms; may throw to stop the call
};

using Task = std::function<void(int64_t index, Worker& worker)>;

// Runs body for every index of [0, count), in order of index, on the pool. Blocks until all tasks
// have ended, also when it throws: the first exception of a task or of poll, or Cancelled. Safe to
// call from any number of threads at once.
void parallel_for(int64_t count, const Schedule& schedule, const Task& body);

// Runs body once on a worker; where the caller is one, right here. Unlike a task it opens no arena
// scope, so that it can be one step of a computation whose scratch memory outlives the step.
void run_in_worker(const Schedule& schedule, const std::function<void()>& body);

// Runs body once on the one thread that everything on devices goes through (beside the budget: it
// waits for them), or right here where the caller is it. One thread, since torch keeps handles,
// workspaces and plans for each that uses a device; its calls there are in inference mode, and
// never in TF32. Waits, polls and throws as parallel_for does.
void run_on_devices(const Schedule& schedule, const std::function<void()>& body);

// The thread budget of the process. Default: SEGRID_THREADS, else CPU affinity and cgroup quota. n
// >= 1.
void set_threads(int n);
int threads();
// What this machine offers this process: affinity mask, capped by the cgroup CPU quota, at least 1.
int available_cpus();

// True inside a task.
bool in_worker();

// Cancels all work, waits for every parallel_for to return and joins the workers; a parallel_for
// that comes meanwhile throws Cancelled. The pool starts again when it is used again, unless it was
// closed: then every later parallel_for throws Cancelled.
void shutdown_pool(bool close = false);

}  // namespace segrid
