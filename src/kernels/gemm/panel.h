// Panels, declared without ATen for the files that are compiled for one instruction set.
#pragma once

#include <cstdint>

#include "core/read_next.h"

namespace segrid {

inline constexpr int64_t kPanel = 64;  // columns of a panel

// A panel of an s8 weight in fours of rows, [k / 4][kPanel][4], 64-byte aligned.
struct Int8Panel {
    const int8_t* data;
    // Whether sums of four products u8 x s8 always fit 16 bits, which AVX2 needs: those of the
    // first two rows of a four and of the next four, and those of their last two rows. Then in each
    // column the positive values of such rows add up to at most kNarrow, and the negative ones to
    // at least -kNarrow.
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
