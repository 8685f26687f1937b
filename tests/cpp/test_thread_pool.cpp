#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/thread_pool.h"

namespace segrid {
namespace {

using namespace std::chrono_literals;

// Restores the budget that a test changes.
struct Budget {
    explicit Budget(int n) : before(threads()) { set_threads(n); }
    ~Budget() { set_threads(before); }
    int before;
};

TEST(ThreadPool, EveryIndexRunsOnce) {
    const Budget budget(4);
    std::vector<std::atomic<int>> seen(1000);
    parallel_for(1000, {}, [&](int64_t i, Worker&) { ++seen[static_cast<std::size_t>(i)]; });
    for (const auto& n : seen) EXPECT_EQ(n.load(), 1);
}

TEST(ThreadPool, NothingToDo) {
    parallel_for(0, {}, [](int64_t, Worker&) { FAIL(); });
}

TEST(ThreadPool, OneWorkerTakesIndicesInOrder) {
    const Budget budget(4);
    std::vector<int64_t> order;
    Schedule one;
    one.max_workers = 1;
    parallel_for(100, one, [&](int64_t i, Worker&) { order.push_back(i); });
    ASSERT_EQ(order.size(), 100U);
    for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(ThreadPool, ExceptionReachesTheCallerAndThePoolLives) {
    const Budget budget(3);
    for (int round = 0; round < 20; ++round) {
        std::atomic<int> ran{0};
        try {
            parallel_for(1000, {}, [&](int64_t i, Worker&) {
                ++ran;
                if (i == 5) throw std::out_of_range("five");
                std::this_thread::sleep_for(100us);
            });
            FAIL() << "no exception";
        } catch (const std::out_of_range& e) {
            EXPECT_STREQ(e.what(), "five");
        }
        EXPECT_LT(ran.load(), 1000);
    }
    std::atomic<int> after{0};
    parallel_for(10, {}, [&](int64_t, Worker&) { ++after; });
    EXPECT_EQ(after.load(), 10);
}

TEST(ThreadPool, ExceptionWaitsForRunningTasks) {
    const Budget budget(2);
    std::atomic<bool> second_started{false}, second_ended{false};
    EXPECT_THROW(parallel_for(2, {},
                              [&](int64_t i, Worker&) {
                                  if (i == 0) {
                                      while (!second_started) std::this_thread::yield();
                                      throw std::runtime_error("first");
                                  }
                                  second_started = true;
                                  std::this_thread::sleep_for(50ms);
                                  second_ended = true;
                              }),
                 std::runtime_error);
    EXPECT_TRUE(second_ended.load());
}

TEST(ThreadPool, CancelBetweenTasks) {
    Schedule schedule;
    std::atomic<int> ran{0};
    EXPECT_THROW(parallel_for(100000, schedule,
                              [&](int64_t, Worker&) {
                                  if (++ran == 10) schedule.cancel.cancel();
                                  std::this_thread::sleep_for(10us);
                              }),
                 Cancelled);
    EXPECT_LT(ran.load(), 100);
    EXPECT_THROW(parallel_for(1, schedule, [](int64_t, Worker&) {}),
                 Cancelled);  // a token stays cancelled
}

TEST(ThreadPool, PollMayStopTheCall) {
    Schedule schedule;
    int polls = 0;
    schedule.poll = [&] {
        if (++polls == 2) throw std::domain_error("interrupted");
    };
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THROW(
        parallel_for(100000, schedule, [&](int64_t, Worker&) { std::this_thread::sleep_for(1ms); }),
        std::domain_error);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
}

// Tasks that see that the call is to stop end with Cancelled before its reason has arrived.
TEST(ThreadPool, TheReasonOfPollIsReported) {
    Schedule schedule;
    std::atomic<bool> interrupted{false};
    schedule.poll = [&] {
        interrupted = true;
        std::this_thread::sleep_for(20ms);
        throw std::domain_error("interrupted");
    };
    EXPECT_THROW(parallel_for(100000, schedule,
                              [&](int64_t, Worker&) {
                                  std::this_thread::sleep_for(1ms);
                                  if (interrupted) throw Cancelled();
                              }),
                 std::domain_error);
}

TEST(ThreadPool, NestedRunsInline) {
    const Budget budget(3);
    std::atomic<int> total{0};
    std::atomic<bool> moved{false};
    EXPECT_FALSE(in_worker());
    parallel_for(8, {}, [&](int64_t, Worker& outer) {
        EXPECT_TRUE(in_worker());
        const auto here = std::this_thread::get_id();
        parallel_for(8, {}, [&](int64_t, Worker& inner) {
            if (&inner != &outer || std::this_thread::get_id() != here) moved = true;
            ++total;
        });
        run_in_worker({}, [&] { ++total; });
    });
    EXPECT_FALSE(moved.load());
    EXPECT_EQ(total.load(), 72);
}

TEST(ThreadPool, SharedTasksEnlistIdleWorkersUpToTheCap) {
    const Budget budget(4);
    for (const int cap : {1, 2, 3, 4}) {
        Schedule schedule;
        schedule.max_workers = cap;
        schedule.share = true;
        std::vector<std::atomic<int>> seen(40);
        std::set<int> who;
        std::mutex mutex;
        parallel_for(1, schedule, [&](int64_t, Worker& outer) {
            int* of_outer = outer.arena.take<int>(4);
            of_outer[0] = 42;
            parallel_for(40, schedule, [&](int64_t i, Worker& worker) {
                // Writes to the worker's own arena, or to this one beyond the memory that the outer
                // task holds.
                worker.arena.take<int>(1000)[0] = 7;
                ++seen[static_cast<std::size_t>(i)];
                const auto arrived = [&] {
                    std::lock_guard lock(mutex);
                    who.insert(worker.index);
                    return static_cast<int>(who.size());
                };
                for (int wait = 0; arrived() < cap && wait < 3000; ++wait)
                    std::this_thread::sleep_for(1ms);
            });
            EXPECT_EQ(of_outer[0], 42);
        });
        for (const auto& n : seen) EXPECT_EQ(n.load(), 1);
        EXPECT_EQ(static_cast<int>(who.size()), cap);
    }
}

TEST(ThreadPool, SharedTasksPassOnExceptionsAndCancelling) {
    const Budget budget(3);
    Schedule schedule;
    schedule.share = true;
    for (int round = 0; round < 20; ++round) {
        EXPECT_THROW(parallel_for(2, schedule,
                                  [&](int64_t, Worker&) {
                                      parallel_for(50, schedule, [&](int64_t i, Worker&) {
                                          std::this_thread::sleep_for(50us);
                                          if (i == 9) throw std::out_of_range("nine");
                                      });
                                  }),
                     std::out_of_range);
    }
    EXPECT_THROW(parallel_for(1, schedule,
                              [&](int64_t, Worker&) {
                                  parallel_for(50, schedule, [&](int64_t i, Worker&) {
                                      if (i == 3) schedule.cancel.cancel();
                                  });
                              }),
                 Cancelled);
}

TEST(ThreadPool, ManyCallersShareAtOnce) {
    const Budget budget(3);
    std::atomic<int64_t> sum{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < 6; ++c) {
        callers.emplace_back([&] {
            Schedule schedule;
            schedule.share = true;
            for (int round = 0; round < 30; ++round) {
                parallel_for(2, schedule, [&](int64_t, Worker&) {
                    for (int step = 0; step < 4; ++step)
                        parallel_for(8, schedule, [&](int64_t i, Worker&) { sum += i; });
                });
            }
        });
    }
    for (std::thread& t : callers) t.join();
    EXPECT_EQ(sum.load(), int64_t{6} * 30 * 2 * 4 * 28);
}

TEST(ThreadPool, ArenaScopePerTask) {
    const Budget budget(1);
    std::set<void*> places;
    parallel_for(50, {}, [&](int64_t, Worker& w) { places.insert(w.arena.take<float>(100)); });
    EXPECT_EQ(places.size(), 1U);
}

TEST(ThreadPool, NeverMoreThanTheBudgetOverManyCallers) {
    const Budget budget(3);
    std::atomic<int> running{0}, most{0}, done{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < 16; ++c) {
        callers.emplace_back([&] {
            parallel_for(20, {}, [&](int64_t, Worker&) {
                const int now = ++running;
                for (int seen = most.load();
                     now > seen && !most.compare_exchange_weak(seen, now);) {
                }
                std::this_thread::sleep_for(200us);
                --running;
                ++done;
            });
        });
    }
    for (auto& t : callers) t.join();
    EXPECT_EQ(done.load(), 16 * 20);
    EXPECT_LE(most.load(), 3);
}

TEST(ThreadPool, MaxWorkersCapsOneCall) {
    const Budget budget(4);
    std::mutex mutex;
    std::set<int> used;
    std::atomic<int> running{0}, most{0};
    Schedule two;
    two.max_workers = 2;
    parallel_for(100, two, [&](int64_t, Worker& w) {
        const int now = ++running;
        for (int seen = most.load(); now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        {
            const std::lock_guard lock(mutex);
            used.insert(w.index);
        }
        std::this_thread::sleep_for(100us);
        --running;
    });
    EXPECT_LE(most.load(), 2);
    for (const int i : used) EXPECT_LT(i, 4);
}

// Two calls with shares of one worker each, one ten times as long as the other.
TEST(ThreadPool, AFairShareGrowsWhenTheOthersHaveEnded) {
    const Budget budget(2);
    Schedule one;
    one.fair_share = 1;
    std::atomic<int> arrived{0}, running{0}, most_beside{0}, most_alone{0};
    std::atomic<bool> beside{true};
    const auto task = [&](int64_t, Worker&) {
        const int now = ++running;
        std::atomic<int>& most = beside ? most_beside : most_alone;
        for (int seen = most.load(); now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        std::this_thread::sleep_for(1ms);
        for (int wait = 0; !beside && most_alone < 2 && wait < 3000; ++wait)
            std::this_thread::sleep_for(1ms);
        --running;
    };
    std::thread other([&] {
        parallel_for(20, one, [&](int64_t i, Worker&) {
            ++arrived;
            while (i == 0 && running == 0) std::this_thread::yield();  // both calls have begun
            if (i == 18) beside = false;  // one task is left, so the shares hold until here
            std::this_thread::sleep_for(1ms);
        });
    });
    while (arrived == 0) std::this_thread::yield();
    parallel_for(200, one, task);
    other.join();
    EXPECT_EQ(most_beside.load(), 1);
    EXPECT_EQ(most_alone.load(), 2);
}

TEST(ThreadPool, SameBitsForAnyThreadCount) {
    const auto compute = [] {
        std::vector<float> out(500);
        parallel_for(500, {}, [&](int64_t i, Worker& w) {
            float* scratch = w.arena.take<float>(64);
            for (int k = 0; k < 64; ++k) scratch[k] = std::sin(static_cast<float>(i * k));
            float sum = 0;
            for (int k = 0; k < 64; ++k) sum += scratch[k];
            out[static_cast<std::size_t>(i)] = sum;
        });
        return out;
    };
    const Budget budget(1);
    const auto expected = compute();
    for (const int n : {2, 3, 5}) {
        set_threads(n);
        EXPECT_EQ(compute(), expected) << n << " threads";
    }
}

TEST(ThreadPool, BudgetIsChecked) {
    EXPECT_THROW(set_threads(0), Error);
    EXPECT_THROW(set_threads(-1), Error);
    EXPECT_GE(available_cpus(), 1);
}

TEST(ThreadPool, StartsAgainAfterShutdown) {
    std::atomic<int> ran{0};
    for (int round = 0; round < 3; ++round) {
        parallel_for(5, {}, [&](int64_t, Worker&) { ++ran; });
        shutdown_pool();
    }
    EXPECT_EQ(ran.load(), 15);
    parallel_for(5, {}, [&](int64_t, Worker&) { ++ran; });
    EXPECT_EQ(ran.load(), 20);
}

TEST(ThreadPool, ShutdownCancelsWorkUnderWay) {
    std::atomic<bool> started{false}, cancelled{false};
    std::thread caller([&] {
        try {
            parallel_for(1000000, {}, [&](int64_t, Worker&) {
                started = true;
                std::this_thread::sleep_for(1ms);
            });
        } catch (const Cancelled&) {
            cancelled = true;
        }
    });
    while (!started) std::this_thread::yield();
    shutdown_pool();
    caller.join();
    EXPECT_TRUE(cancelled.load());
}

}  // namespace
}  // namespace segrid
