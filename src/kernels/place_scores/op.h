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

#include "core/rows.h"

namespace segrid {

// The keys of one row of the grid.
struct PlaceKeys {
    static constexpr int64_t kGroup = 16;  // places that are packed together
    int64_t places = 0;                    // a multiple of kGroup
    int64_t frames = 0;                    // keys of a place
    int64_t width = 0;                     // channels of a key
    int64_t keys() const { return places * frames; }
    // The order of keys: by groups of places, then by frames, then by places. These are the place
    // and the frame of a key.
    int64_t place(int64_t key) const { return key / (kGroup * frames) * kGroup + key % kGroup; }
    int64_t frame(int64_t key) const { return key / kGroup % frames; }
};

// What several queries make of a row of the grid.
struct PlaceQueries {
    int64_t count = 0;
    // A, then a as one more channel: [count, places / kGroup, width + 1, kGroup]
    const float* across = nullptr;
    const float* down = nullptr;  // D, then d: [count, width + 1]
};

// packed: for each group of places its keys as columns, [width, keys of the group].
// Rows of scores, of keys() each, in the order of keys.
void place_scores(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
                  Rows<float> scores);

}  // namespace segrid
