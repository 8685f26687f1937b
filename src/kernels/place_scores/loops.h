// The walk over queries, groups of places and frames that the implementations share. Each file
// compiles its own copy with its own flags.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/place_scores/op.h"

namespace segrid::places {
namespace {

// What a block of queries, places and frames reads and writes.
struct Block {
    const float *across, *down;  // of the first query, from the first place on
    int64_t across_step;         // from one query to the next
    const float* keys;           // of the first frame
    int64_t keys_step;           // from one channel to the next
    int64_t width;
    Rows<float> scores;
};

constexpr int kFrames = 7;  // the most frames of a block

// Calls Form::block<Q, F>(block) for all blocks, with Q at most Form::kQueries; a block covers
// Form::kLanes places.
template <class Form>
void over_blocks(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
                 Rows<float> scores) {
    constexpr int64_t kGroup = PlaceKeys::kGroup;
    const int64_t step = of.frames * kGroup, row = of.places * (of.width + 1);
    const auto frames = [&]<int Q, int... F>(const Block& block, int64_t count,
                                             std::integer_sequence<int, F...>) {
        static constexpr std::array<void (*)(const Block&), kFrames> blocks{
            &Form::template block<Q, F + 1>...};
        blocks[static_cast<std::size_t>(count - 1)](block);
    };
    const auto walk = [&]<int Q>(int64_t q, int64_t place, int64_t f) {
        const int64_t group = place / kGroup, at = f * kGroup + place % kGroup;
        const Block block{
            queries.across + q * row + group * (of.width + 1) * kGroup + place % kGroup,
            queries.down + q * (of.width + 1),
            row,
            packed + group * step * of.width + at,
            step,
            of.width,
            scores.from_row(q).from_column(group * step + at)};
        frames.template operator()<Q>(block, std::min<int64_t>(kFrames, of.frames - f),
                                      std::make_integer_sequence<int, kFrames>{});
    };
    // Queries are innermost, so that their keys stay in the first-level cache.
    for (int64_t place = 0; place < of.places; place += Form::kLanes) {
        for (int64_t f = 0; f < of.frames; f += kFrames) {
            int64_t q = 0;
            for (; q + Form::kQueries <= queries.count; q += Form::kQueries)
                walk.template operator()<Form::kQueries>(q, place, f);
            for (; q < queries.count; ++q) walk.template operator()<1>(q, place, f);
        }
    }
}

}  // namespace
}  // namespace segrid::places
