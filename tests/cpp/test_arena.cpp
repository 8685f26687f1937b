#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "core/arena.h"

namespace segrid {
namespace {

TEST(Arena, BlocksAreAlignedAndDisjoint) {
    Arena arena;
    const Arena::Lifetime scope(arena);
    uint8_t* previous_end = nullptr;
    for (int i = 1; i < 50; ++i) {
        auto* p = arena.take<uint8_t>(i * 7);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0U);
        if (previous_end != nullptr) {
            EXPECT_GE(p, previous_end);
        }
        std::memset(p, i, static_cast<std::size_t>(i * 7));
        previous_end = p + i * 7;
    }
}

TEST(Arena, ScopeGivesBackAndMemoryIsReused) {
    Arena arena;
    float* first = nullptr;
    {
        const Arena::Lifetime scope(arena);
        first = arena.take<float>(1000);
    }
    const std::size_t held = arena.capacity();
    for (int i = 0; i < 100; ++i) {
        const Arena::Lifetime scope(arena);
        EXPECT_EQ(arena.take<float>(1000), first);
    }
    EXPECT_EQ(arena.capacity(), held);
}

TEST(Arena, GrowthKeepsWhatWasTaken) {
    Arena arena;
    const Arena::Lifetime scope(arena);
    auto* small = arena.take<int64_t>(10);
    for (int i = 0; i < 10; ++i) small[i] = i;
    for (int round = 0; round < 6; ++round) {
        auto* big = arena.take<uint8_t>(int64_t{1} << (20 + round));
        std::memset(big, 0xFF, std::size_t{1} << (20 + round));
    }
    for (int i = 0; i < 10; ++i) EXPECT_EQ(small[i], i);
}

TEST(Arena, NestedScopesAcrossBlocks) {
    Arena arena;
    const Arena::Lifetime outer(arena);
    auto* kept = arena.take<uint8_t>(100);
    std::memset(kept, 42, 100);
    for (int i = 0; i < 5; ++i) {
        const Arena::Lifetime inner(arena);
        std::memset(arena.take<uint8_t>(3 << 20), 1, 3 << 20);
    }
    auto* next = arena.take<uint8_t>(100);
    std::memset(next, 7, 100);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(kept[i], 42);
}

TEST(Arena, TrimGivesAllBack) {
    Arena arena;
    {
        const Arena::Lifetime scope(arena);
        arena.take<uint8_t>(1 << 22);
    }
    EXPECT_GT(arena.capacity(), 0U);
    arena.trim();
    EXPECT_EQ(arena.capacity(), 0U);
    const Arena::Lifetime scope(arena);
    EXPECT_NE(arena.take<uint8_t>(1), nullptr);
}

}  // namespace
}  // namespace segrid
