#include <algorithm>
#include <cmath>

#include "kernels/mask_scan/implementations.h"

namespace segrid::mask_scan {
namespace {

void expand(const ScanAxis& axis, const float* row, int64_t begin, int64_t end, float* out) {
    for (int64_t x = begin; x < end; ++x) {
        float sum = axis.weights[static_cast<std::size_t>(x)] *
                    row[axis.first[static_cast<std::size_t>(x)]];
        for (int64_t t = 1; t < axis.taps; ++t) {
            sum = std::fma(axis.weights[static_cast<std::size_t>(t * axis.outputs + x)],
                           row[axis.first[static_cast<std::size_t>(x)] + t], sum);
        }
        out[x] = sum;
    }
}

RowCounts threshold(const float* const* rows, const float* weights, int64_t taps, int64_t begin,
                    int64_t end, float level, float offset, uint64_t* bits) {
    RowCounts counts;
    for (int64_t x = begin; x < end; ++x) {
        float value = weights[0] * rows[0][x];
        for (int64_t t = 1; t < taps; ++t) value = std::fma(weights[t], rows[t][x], value);
        const uint64_t bit = uint64_t{1} << (x % 64);
        counts.above += value > level + offset;
        counts.below += value > level - offset;
        counts.area += value > level;
        bits[x / 64] = value > level ? bits[x / 64] | bit : bits[x / 64] & ~bit;
    }
    return counts;
}

void compare(const float* values, int64_t count, float level, uint64_t* bits) {
    std::fill_n(bits, (count + 63) / 64, uint64_t{0});
    for (int64_t x = 0; x < count; ++x)
        bits[x / 64] |= static_cast<uint64_t>(values[x] > level) << (x % 64);
}

}  // namespace

const Table& plain() {
    static const Table table{expand, threshold, compare};
    return table;
}

}  // namespace segrid::mask_scan
