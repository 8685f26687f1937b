// Scores of queries against keys with rotary positions, where every place of a grid has several
// keys (one of each frame of a video), in as few products as a key has channels before its
// projection.
//
// With u a key's channels, W its projection, b the bias, and R(y, x) the turning of a place, which
// turns half of the pairs of channels by x and half by y:
//   q . R(y, x) (W u + b) = (A(x) + D(y)) . u + a(x) + d(y)
// where A(x) and D(y) are what W^T R^T makes of the two halves of the query q, and a and d what b
// does. All keys of a place share A(x) + D(y), and all places of a column share A(x).
#pragma once

#include <cstdint>
#include <span>

#include "core/read_next.h"
#include "core/rows.h"

namespace segrid {

// How many places are packed together: as many as a vector of this CPU has lanes.
int64_t place_group();

// The keys of one row of the grid, or of a part of it.
struct PlaceKeys {
    int64_t places = 0;             // a multiple of 16
    int64_t frames = 0;             // keys of a place
    int64_t width = 0;              // channels of a key
    int64_t group = place_group();  // places that are packed together: 8 or 16
    int64_t keys() const { return places * frames; }
    // The order of keys: by groups of places, then by frames, then by places. These are the place
    // and the frame of a key.
    int64_t place(int64_t key) const { return key / (group * frames) * group + key % group; }
    int64_t frame(int64_t key) const { return key / group % frames; }
};

// Several queries, folded with the projection for one row of the grid: A, a, D and d above.
struct PlaceQueries {
    int64_t count = 0;
    // A, then a as one more channel: [places / group, count, width + 1, group]
    const float* across = nullptr;
    const float* down = nullptr;  // D, then d: [count, width + 1]
};

// packed: for each group of places its keys as columns, [width, keys of the group].
// Rows of scores, of keys() each, in the order of keys.
// next: what is read after it, for which it may ask meanwhile.
void place_scores(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
                  Rows<float> scores, std::span<const ReadNext> next = {});

}  // namespace segrid
