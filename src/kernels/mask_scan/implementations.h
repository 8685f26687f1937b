#pragma once

#include "kernels/mask_scan/op.h"

namespace segrid::mask_scan {

// One row of low-res logits expanded to the output's width: out[x] = sum_t weights[t][x] row[first[x] + t], for x in [begin, end).
using Expand = void (*)(const ScanAxis& axis, const float* row, int64_t begin, int64_t end, float* out);
// value[x] = sum_t weight[t] rows[t][x] for x in [begin, end); counts values above the three levels and writes one bit per pixel above
// `level` to bits (bit x of the row; words outside [begin, end) are untouched, bits inside are overwritten; begin is a multiple of 64).
struct RowCounts {
    int64_t area = 0, above = 0, below = 0;
};
using Threshold = RowCounts (*)(const float* const* rows, const float* weights, int64_t taps, int64_t begin, int64_t end, float level,
                                float offset, uint64_t* bits);

struct Table {
    Expand expand;
    Threshold threshold;
};
const Table& plain();
const Table& avx512();

}  // namespace segrid::mask_scan
