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

// Calls Form::block<Q, F>(block) for all blocks, with Q at most Form::kQueries and F at most
// Form::kFrames; a block covers Form::kLanes of the Form::kGroup places that are packed together.
template <class Form>
void over_blocks(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
                 Rows<float> scores) {
    constexpr int64_t kGroup = Form::kGroup;
    const int64_t step = of.frames * kGroup, row = (of.width + 1) * kGroup;
    // Parts of the frames, as even as possible, because small blocks are slower.
    const int64_t parts = (of.frames + Form::kFrames - 1) / Form::kFrames;
    const auto frames = [&]<int Q, int... F>(const Block& block, int64_t count,
                                             std::integer_sequence<int, F...>) {
        static constexpr std::array<void (*)(const Block&), Form::kFrames> blocks{
            &Form::template block<Q, F + 1>...};
        blocks[static_cast<std::size_t>(count - 1)](block);
    };
    const auto walk = [&]<int Q>(int64_t q, int64_t place) {
        for (int64_t part = 0; part < parts; ++part) {
            const int64_t f = part * of.frames / parts, count = (part + 1) * of.frames / parts - f;
            const int64_t group = place / kGroup, at = f * kGroup + place % kGroup;
            const Block block{queries.across + (group * queries.count + q) * row + place % kGroup,
                              queries.down + q * (of.width + 1),
                              row,
                              packed + group * step * of.width + at,
                              step,
                              of.width,
                              scores.from_row(q).from_column(group * step + at)};
            frames.template operator()<Q>(block, count,
                                          std::make_integer_sequence<int, Form::kFrames>{});
        }
    };
    // Queries are inner, so that the keys of these places stay in the first-level cache.
    for (int64_t place = 0; place < of.places; place += Form::kLanes) {
        int64_t q = 0;
        static_assert(Form::kQueries == 3);
        for (; q + 3 <= queries.count; q += 3) walk.template operator()<3>(q, place);
        if (queries.count - q == 2) walk.template operator()<2>(q, place);
        if (queries.count - q == 1) walk.template operator()<1>(q, place);
    }
}

}  // namespace
}  // namespace segrid::places
