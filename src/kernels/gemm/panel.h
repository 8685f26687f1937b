// Panels, declared without ATen for the files that are compiled for one instruction set.
#pragma once

#include <cstdint>

namespace segrid {

inline constexpr int64_t kPanel = 64;  // columns of a panel

// The values that the sums of a product with a panel begin with: row i begins with offsets[i *
// offset_step] + table[i * table_step + column].
struct Start {
    const float* offsets;
    int64_t offset_step;
    const float* table;
    int64_t table_step;
};

}  // namespace segrid
