#pragma once

#include "kernels/mask_scan/op.h"

namespace segrid::mask_scan {

// Expands one row of low-res logits to the output's width: out[x] = sum_t weights[t][x]
// row[first[x] + t], for x in [begin, end).
using Expand = void (*)(const ScanAxis& axis, const float* row, int64_t begin, int64_t end,
                        float* out);
// value[x] = sum_t weight[t] rows[t][x] for x in [begin, end). Counts the values above the three
// levels and writes one bit per pixel above `level`: bit x of the row. Words outside [begin, end)
// are untouched, bits inside are overwritten; begin is a multiple of 64.
struct RowCounts {
    int64_t area = 0, above = 0, below = 0;
};
using Threshold = RowCounts (*)(const float* const* rows, const float* weights, int64_t taps,
                                int64_t begin, int64_t end, float level, float offset,
                                uint64_t* bits);
// Sets one bit per value of values[0, count) that is above `level`. NaN is not above it. The
// remaining bits of the last word are 0.
using Compare = void (*)(const float* values, int64_t count, float level, uint64_t* bits);

// All implementations perform the same float operations in the same order (a product, then fused
// multiply-adds), so their masks have the same bits.
struct Table {
    Expand expand;
    Threshold threshold;
    Compare compare;
};
const Table& plain();
const Table& avx2();
const Table& avx512();

}  // namespace segrid::mask_scan
