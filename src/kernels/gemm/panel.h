// Panels, declared without ATen for the files that are compiled for one instruction set.
#pragma once

#include <cstdint>

namespace segrid {

inline constexpr int64_t kPanel = 64;  // columns of a panel

// A panel of an s8 weight in fours of rows, [k / 4][kPanel][4], 64-byte aligned.
struct Int8Panel {
    const int8_t* data;
    // Of any two fours that follow each other, the first two rows of both together, and the last
    // two, multiplied by any u8 numbers add up in 16 bits: their positive values add up to at most
    // kNarrow, and so do the negative ones.
    bool narrow;
};
inline constexpr int kNarrow = 128;  // 128 x 255 = 32640

// The values that the sums of a product with a panel begin with: row i begins with offsets[i *
// offset_step] + table[i * table_step + column].
struct Start {
    const float* offsets;
    int64_t offset_step;
    const float* table;
    int64_t table_step;
};

}  // namespace segrid
