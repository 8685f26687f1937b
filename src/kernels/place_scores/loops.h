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
    const float* ahead;  // a share of what the next queries read from `across`
};

// Calls Form::block<Q, F>(block) for all blocks, with Q at most Form::kQueries and F at most
// Form::kFrames; a block covers Form::kLanes of the Form::kGroup places that are packed together.
template <class Form>
void over_blocks(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
                 Rows<float> scores, std::span<const ReadNext> next) {
    constexpr int64_t kGroup = Form::kGroup, kLine = 16;  // numbers of a cache line
    const int64_t step = of.frames * kGroup, row = (of.width + 1) * kGroup;
    // Parts of the frames, as even as possible, because small blocks are slower.
    const int64_t parts = (of.frames + Form::kFrames - 1) / Form::kFrames,
                  fewest = of.frames / parts, one_more = of.frames % parts;
    const auto frames = [&]<int Q, int... F>(const Block& block, int64_t count,
                                             std::integer_sequence<int, F...>) {
        static constexpr std::array<void (*)(const Block&), Form::kFrames> blocks{
            &Form::template block<Q, F + 1>...};
        blocks[static_cast<std::size_t>(count - 1)](block);
    };
    // Every walk over the frames asks for its share of what is read next.
    const int64_t walks =
        of.places / Form::kLanes * ((queries.count + Form::kQueries - 1) / Form::kQueries);
    ReadAhead ahead(next, walks);
    const auto walk = [&]<int Q>(int64_t q, int64_t place) {
        ask_for(ahead.next());
        for (int64_t part = 0, f = 0, count; part < parts; ++part, f += count) {
            count = fewest + (part < one_more ? 1 : 0);
            const int64_t group = place / kGroup, at = f * kGroup + place % kGroup;
            const Block block{
                queries.across + (group * queries.count + q) * row + place % kGroup,
                queries.down + q * (of.width + 1),
                row,
                packed + group * step * of.width + at,
                step,
                of.width,
                scores.from_row(q).from_column(group * step + at),
                queries.across + (group * queries.count + q + Q) * row + part * of.width * kLine};
            frames.template operator()<Q>(block, count,
                                          std::make_integer_sequence<int, Form::kFrames>{});
        }
    };
    // Queries are inner, so that the keys of these places stay in the first-level cache.
    for (int64_t place = 0; place < of.places; place += Form::kLanes) {
        int64_t q = 0;
        static_assert(Form::kQueries == 3);
        // The last four are two and two, because one alone is slow.
        for (; q + 3 <= queries.count && q + 4 != queries.count; q += 3)
            walk.template operator()<3>(q, place);
        for (; q + 2 <= queries.count; q += 2) walk.template operator()<2>(q, place);
        if (q < queries.count) walk.template operator()<1>(q, place);
    }
}

}  // namespace
}  // namespace segrid::places
