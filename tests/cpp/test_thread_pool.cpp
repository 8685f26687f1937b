#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/thread_pool.h"

namespace segrid {
namespace {

TEST(ThreadPool, RunsEveryIndexOnce) {
    std::vector<std::atomic<int>> seen(1000);
    parallel_for(1000, {}, [&](int64_t i, Worker&) { ++seen[static_cast<std::size_t>(i)]; });
    for (auto& s : seen) EXPECT_EQ(s.load(), 1);
}

TEST(ThreadPool, FirstExceptionReachesTheCallerAndThePoolGoesOn) {
    std::atomic<int> ran{0};
    EXPECT_THROW(parallel_for(10000, {}, [&](int64_t i, Worker&) {
        ++ran;
        if (i == 3) invalid("three");
    }), Error);
    EXPECT_LT(ran.load(), 10000);
    std::atomic<int> again{0};
    parallel_for(10, {}, [&](int64_t, Worker&) { ++again; });
    EXPECT_EQ(again.load(), 10);
}

TEST(ThreadPool, CancelStopsBetweenTasks) {
    Schedule schedule;
    std::atomic<int> ran{0};
    EXPECT_THROW(parallel_for(100000, schedule, [&](int64_t i, Worker&) {
        ++ran;
        if (i == 10) schedule.cancel.cancel();
    }), Cancelled);
    EXPECT_LT(ran.load(), 1000);
}

TEST(ThreadPool, PollRunsOnTheCallingThreadAndItsExceptionStopsTheWork) {
    Schedule schedule;
    const auto caller = std::this_thread::get_id();
    schedule.poll = [&] {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        throw std::runtime_error("enough");
    };
    EXPECT_THROW(parallel_for(100000, schedule, [](int64_t, Worker&) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }),
                 std::runtime_error);
}

TEST(ThreadPool, NestedCallsRunInline) {
    std::atomic<int> total{0};
    parallel_for(8, {}, [&](int64_t, Worker& outer) {
        parallel_for(8, {}, [&](int64_t, Worker& inner) {
            EXPECT_EQ(&outer, &inner);
            ++total;
        });
    });
    EXPECT_EQ(total.load(), 64);
}

TEST(ThreadPool, NeverMoreTasksAtOnceThanTheBudgetFromManyCallers) {
    const int before = threads();
    set_threads(2);
    std::atomic<int> running{0}, most{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < 16; ++c) {
        callers.emplace_back([&] {
            parallel_for(20, {}, [&](int64_t, Worker&) {
                const int now = ++running;
                int seen = most.load();
                while (now > seen && !most.compare_exchange_weak(seen, now)) {}
                std::this_thread::sleep_for(std::chrono::microseconds(200));
                --running;
            });
        });
    }
    for (auto& t : callers) t.join();
    EXPECT_LE(most.load(), 2);
    set_threads(before);
}

TEST(ThreadPool, MaxWorkersCapsOneCall) {
    const int before = threads();
    set_threads(4);
    Schedule schedule;
    schedule.max_workers = 1;
    std::set<int> workers;
    parallel_for(50, schedule, [&](int64_t, Worker& w) { workers.insert(w.index); });
    EXPECT_GE(workers.size(), 1U);
    std::atomic<int> running{0}, most{0};
    parallel_for(50, schedule, [&](int64_t, Worker&) {
        most = std::max(most.load(), ++running);
        std::this_thread::sleep_for(std::chrono::microseconds(100));
        --running;
    });
    EXPECT_EQ(most.load(), 1);
    set_threads(before);
}

TEST(ThreadPool, StartsAgainAfterShutdown) {
    parallel_for(4, {}, [](int64_t, Worker&) {});
    shutdown_pool();
    std::atomic<int> ran{0};
    parallel_for(4, {}, [&](int64_t, Worker&) { ++ran; });
    EXPECT_EQ(ran.load(), 4);
}

TEST(Arena, ReusesMemoryAcrossScopesAndAligns) {
    Arena arena;
    void* first = nullptr;
    {
        const Arena::Scope scope(arena);
        first = arena.take<float>(1000);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0U);
        EXPECT_NE(static_cast<void*>(arena.take<float>(1)), first);
    }
    const Arena::Scope scope(arena);
    EXPECT_EQ(static_cast<void*>(arena.take<float>(10)), first);
}

TEST(Arena, GrowsWithoutMovingWhatIsTaken) {
    Arena arena;
    const Arena::Scope scope(arena);
    int* a = arena.take<int>(10);
    a[0] = 7;
    for (int i = 0; i < 10; ++i) arena.take<int>(1 << 18);
    EXPECT_EQ(a[0], 7);
}

}  // namespace
}  // namespace segrid
