// One pool and one thread budget for the process.
//
// Work is a parallel_for. Its caller waits without computing, wakes every few milliseconds to poll,
// and receives the first exception of any task. Inside a task every library runs single-threaded. A
// nested parallel_for runs inline, or shares its tasks with idle workers (Schedule::share), so
// there are never more runnable threads than the budget. The result of a task must not depend on
// the worker that runs it: results have the same bits for any thread count.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "core/arena.h"

namespace segrid {

// Any thread may set it; it is checked between tiles. Copies share the flag.
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

// The resources of a task: its worker's number in [0, budget) and its worker's scratch memory.
struct Worker {
    int index = 0;
    Arena arena;
};

// How one call uses the pool.
struct Schedule {
    // 0: the whole budget.
    int max_workers = 0;
    // The most workers of this call while other calls have tasks waiting. 0: no limit, calls take
    // turns.
    int fair_share = 0;
    // A parallel_for inside a task enlists idle workers. Meant for calls with fewer tasks than
    // workers.
    bool share = false;
    // Checked before every task.
    CancelToken cancel;
    // Runs on the calling thread at least every 20 ms. May throw to stop the call.
    std::function<void()> poll;
};

using Task = std::function<void(int64_t index, Worker& worker)>;

// Runs body for every index in [0, count) on the pool, in order of index. Blocks until all tasks
// have ended, then throws the first exception of a task or of poll, or Cancelled. Any number of
// threads may call it at once.
void parallel_for(int64_t count, const Schedule& schedule, const Task& body);

// Runs body once on a worker, or inline if the caller is one. Unlike a task it opens no arena
// scope, so it can be one step of a computation whose scratch memory outlives the step.
void run_in_worker(const Schedule& schedule, const std::function<void()>& body);

// Runs body once on the device thread, or inline if the caller is that thread. All work on devices
// goes through this one thread, because torch keeps handles, workspaces and plans for each thread
// that uses a device. The thread is not part of the budget, since it mostly waits for the device.
// Its torch calls are in inference mode and never in TF32. Waits, polls and throws as parallel_for
// does.
void run_on_devices(const Schedule& schedule, const std::function<void()>& body);

// The thread budget of the process. Default: SEGRID_THREADS, or else CPU affinity and cgroup quota.
// n >= 1.
void set_threads(int n);
int threads();
// The CPUs this process may use: the affinity mask, capped by the cgroup CPU quota, at least 1.
int available_cpus();

// True inside a task.
bool in_worker();

// Cancels all work, waits for every parallel_for to return and joins the workers; a parallel_for
// that starts during this time throws Cancelled. The pool starts again when it is next used, unless
// close is true: then every later parallel_for throws Cancelled.
void shutdown_pool(bool close = false);

}  // namespace segrid
