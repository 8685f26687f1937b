#include "core/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/single_thread.h"

namespace segrid {

void CancelToken::check() const {
    if (cancelled()) throw Cancelled();
}

namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(20);
constexpr int kMaxThreads = 1024;

struct Job {
    int64_t count = 0;
    int64_t next = 0;  // the first index that no worker has taken
    int active = 0;    // workers inside body
    int cap = 0;       // the most workers that may be inside body at once
    int share = 0;     // so many at most while another job has tasks for a worker
    const Task* body = nullptr;
    CancelToken cancel;
    bool stopped = false;  // no further index is handed out
    std::exception_ptr error;
    // Errors that are not reported. They live as long as the job, because a Python exception takes
    // the GIL when it ends, which must not happen under the pool's mutex.
    std::vector<std::exception_ptr> unreported;
    std::condition_variable done;

    Job(int64_t tasks, const Schedule& schedule, const Task& task)
        : count(tasks), body(&task), cancel(schedule.cancel) {}
    bool open() const { return !stopped && next < count; }
    bool finished() const { return !open() && active == 0; }
};

std::atomic<int> set_before{0};  // by set_threads; a forked child's pool begins with it

thread_local Worker* this_worker = nullptr;
thread_local const void* this_pool = nullptr;  // the pool of this_worker

class Pool {
public:
    Pool() = default;
    // For the device thread, which waits for a device more than it computes. See DeviceThread.
    struct OfDevices {};
    explicit Pool(OfDevices) : budget_(1), of_devices_(true) {}

    void run(int64_t count, const Schedule& schedule, const Task& body) {
        Job job(count, schedule, body);
        std::unique_lock lock(mutex_);
        if (stopping_ || closed_) throw Cancelled("segrid is shutting down");
        start_workers();
        post(job, schedule);
        while (!job.done.wait_for(lock, kPollInterval, [&] { return job.finished(); })) {
            if (stopping_ && job.open())
                stop(job, std::make_exception_ptr(Cancelled("segrid is shutting down")));
            if (!schedule.poll || job.stopped) continue;
            lock.unlock();
            std::exception_ptr error;
            try {
                schedule.poll();
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            // Comes before what the tasks threw, since they may have been cancelled because of it.
            if (error) {
                std::swap(job.error, error);
                stop(job, std::move(error));
            }
        }
        close(job, lock);
    }

    // Does the same from inside a task. The task's worker computes and others may join it. It waits
    // only for workers that are computing, so it cannot deadlock.
    void share(int64_t count, const Schedule& schedule, const Task& body, Worker& worker) {
        Job job(count, schedule, body);
        std::unique_lock lock(mutex_);
        post(job, schedule);
        ++job.active;
        while (job.open()) run_next(job, worker, lock);
        --job.active;
        job.done.wait(lock, [&] { return job.finished(); });
        close(job, lock);
    }

    void set_budget(int n) {
        std::lock_guard lock(mutex_);
        set_before = n;
        budget_ = n;
        wake_.notify_all();
    }

    int budget() {
        std::lock_guard lock(mutex_);
        return budget_;
    }

    void shutdown(bool close) {
        std::vector<std::thread> threads;
        {
            std::unique_lock lock(mutex_);
            closed_ |= close;
            idle_.wait(lock, [&] { return !stopping_; });  // waits for another shutdown
            stopping_ = true;
            wake_.notify_all();
            idle_.wait(lock, [&] { return jobs_.empty(); });
            wake_.notify_all();
            threads.swap(threads_);
        }
        for (std::thread& t : threads) t.join();
        std::lock_guard lock(mutex_);
        stopping_ = false;
        workers_.clear();
        idle_.notify_all();
    }

private:
    void post(Job& job, const Schedule& schedule) {
        job.cap = schedule.max_workers > 0 ? std::min(schedule.max_workers, budget_) : budget_;
        job.share = schedule.fair_share > 0 ? std::min(schedule.fair_share, job.cap) : job.cap;
        jobs_.push_back(&job);
        wake_.notify_all();
    }

    void close(Job& job, std::unique_lock<std::mutex>& lock) {
        jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
        if (jobs_.empty()) idle_.notify_all();
        lock.unlock();
        if (job.error) std::rethrow_exception(job.error);
    }

    static void stop(Job& job, std::exception_ptr error) {
        job.stopped = true;
        if (!job.error) job.error = std::move(error);
        else if (error) job.unreported.push_back(std::move(error));
    }

    void start_workers() {
        while (static_cast<int>(threads_.size()) < budget_) {
            workers_.push_back(std::make_unique<Worker>());
            workers_.back()->index = static_cast<int>(threads_.size());
            threads_.emplace_back([this, worker = workers_.back().get()] { work(*worker); });
        }
    }

    // A job with work for one more worker, first of all one below its share. Jobs take turns, so
    // that no caller starves.
    Job* pick() {
        Job* job = next_below(&Job::share);
        return job != nullptr ? job : next_below(&Job::cap);
    }

    Job* next_below(int Job::*limit) {
        for (std::size_t i = 0; i < jobs_.size(); ++i) {
            Job* job = jobs_[(turn_ + i) % jobs_.size()];
            if (job->open() && job->active < job->*limit) {
                turn_ = (turn_ + i + 1) % jobs_.size();
                return job;
            }
        }
        return nullptr;
    }

    // Takes one task of an open job and runs it without the lock.
    static void run_next(Job& job, Worker& worker, std::unique_lock<std::mutex>& lock) {
        if (job.cancel.cancelled()) {
            stop(job, std::make_exception_ptr(Cancelled()));
            return;
        }
        const int64_t index = job.next++;
        lock.unlock();
        std::exception_ptr error;
        try {
            const Arena::Lifetime scope(worker.arena);
            (*job.body)(index, worker);
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        if (error) stop(job, std::move(error));
    }

    void work(Worker& worker) {
        this_worker = &worker;
        this_pool = this;
        const SingleThreadLibraries single_thread;
        std::optional<DeviceThread> of_device;
        if (of_devices_) of_device.emplace();
        std::unique_lock lock(mutex_);
        for (;;) {
            Job* job = nullptr;
            wake_.wait(lock, [&] {
                job = worker.index < budget_ ? pick() : nullptr;
                return job != nullptr || (stopping_ && jobs_.empty());
            });
            if (job == nullptr) return;
            ++job->active;
            // Stay with the job while it is the only one; otherwise give the others their turn
            // after each task.
            do run_next(*job, worker, lock);
            while (job->open() && jobs_.size() == 1 && worker.index < budget_);
            --job->active;
            // Others are woken because a single worker might be beyond the budget and sleep again.
            if (job->finished()) job->done.notify_all();
            else if (job->open()) wake_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, idle_;
    std::deque<Job*> jobs_;
    std::size_t turn_ = 0;
    int budget_ = asked_budget();
    bool of_devices_ = false;
    static int asked_budget() {
        if (const int n = set_before; n > 0) return n;
        const char* text = std::getenv("SEGRID_THREADS");
        if (text == nullptr || *text == '\0') return available_cpus();
        char* end = nullptr;
        const long n = std::strtol(text, &end, 10);
        if (*end != '\0' || n < 1 || n > kMaxThreads) {
            invalid("SEGRID_THREADS: must be a whole number from 1 to 1024, got '" +
                    std::string(text) + "'");
        }
        return static_cast<int>(n);
    }
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<std::thread> threads_;
    bool stopping_ = false;
    bool closed_ = false;  // permanently, because the process ends
};

// Never destroyed: worker threads may outlive static destructors. A forked child starts with a new
// pool, because threads do not survive a fork.
std::atomic<Pool*> the_pool{nullptr}, the_device_pool{nullptr};
std::mutex pool_mutex;

// Registers once, because a second registration would lock the mutex twice.
void forget_pools_in_children() {
    static const int registered =
        pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
                       [] {
                           the_pool.store(nullptr);
                           the_device_pool.store(nullptr);
                           this_worker = nullptr;
                           this_pool = nullptr;
                           pool_mutex.unlock();
                       });
    (void)registered;
}

template <class... Kind>
Pool& pool(std::atomic<Pool*>& place, Kind... kind) {
    Pool* p = place.load(std::memory_order_acquire);
    if (p != nullptr) return *p;
    std::lock_guard lock(pool_mutex);
    if (place.load() == nullptr) {
        place.store(new Pool(kind...), std::memory_order_release);
        forget_pools_in_children();
    }
    return *place.load();
}

Pool& pool() { return pool(the_pool); }
Pool& device_pool() { return pool(the_device_pool, Pool::OfDevices{}); }

}  // namespace

void parallel_for(int64_t count, const Schedule& schedule, const Task& body) {
    schedule.cancel.check();
    if (count <= 0) return;
    if (this_worker != nullptr && schedule.share && count > 1) {
        pool().share(count, schedule, body, *this_worker);
        return;
    }
    if (this_worker != nullptr) {
        for (int64_t i = 0; i < count; ++i) {
            schedule.cancel.check();
            const Arena::Lifetime scope(this_worker->arena);
            body(i, *this_worker);
        }
        return;
    }
    pool().run(count, schedule, body);
}

void run_in_worker(const Schedule& schedule, const std::function<void()>& body) {
    if (this_worker != nullptr) {
        body();
    } else {
        parallel_for(1, schedule, [&](int64_t, Worker&) { body(); });
    }
}

void run_on_devices(const Schedule& schedule, const std::function<void()>& body) {
    schedule.cancel.check();
    Pool& devices = device_pool();
    if (this_pool == &devices) return body();
    const Task task = [&](int64_t, Worker&) { body(); };
    devices.run(1, schedule, task);
}

void set_threads(int n) {
    if (n < 1 || n > kMaxThreads)
        invalid("set_threads: n must be from 1 to 1024, got " + std::to_string(n));
    pool().set_budget(n);
}

int threads() { return pool().budget(); }

bool in_worker() { return this_worker != nullptr; }

void shutdown_pool(bool close) {
    if (the_device_pool.load() != nullptr || close) device_pool().shutdown(close);
    if (the_pool.load() != nullptr || close) pool().shutdown(close);
}

}  // namespace segrid
