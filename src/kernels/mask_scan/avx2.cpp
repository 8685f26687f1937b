#include <immintrin.h>

#include <algorithm>

#include "kernels/mask_scan/implementations.h"

namespace segrid::mask_scan {
namespace {

inline __m256i tail(int64_t left) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(std::min<int64_t>(left, 8))),
                              index);
}

inline uint64_t above(__m256 value, __m256 level, __m256i lanes) {
    const __m256 found =
        _mm256_and_ps(_mm256_cmp_ps(value, level, _CMP_GT_OQ), _mm256_castsi256_ps(lanes));
    return static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_ps(found)));
}

void expand(const ScanAxis& axis, const float* row, int64_t begin, int64_t end, float* out) {
    for (int64_t x = begin; x < end; x += 8) {
        const __m256i m = tail(end - x);
        const __m256i first = _mm256_maskload_epi32(axis.first.data() + x, m);
        __m256 sum = _mm256_setzero_ps();
        for (int64_t t = 0; t < axis.taps; ++t) {
            const __m256 w = _mm256_maskload_ps(axis.weights.data() + t * axis.outputs + x, m);
            const __m256 v = _mm256_mask_i32gather_ps(_mm256_setzero_ps(), row + t, first,
                                                      _mm256_castsi256_ps(m), 4);
            sum = t == 0 ? _mm256_mul_ps(w, v) : _mm256_fmadd_ps(w, v, sum);
        }
        _mm256_maskstore_ps(out + x, m, sum);
    }
}

RowCounts threshold(const float* const* rows, const float* weights, int64_t taps, int64_t begin,
                    int64_t end, float level, float offset, uint64_t* bits) {
    const __m256 at = _mm256_set1_ps(level), high = _mm256_set1_ps(level + offset),
                 low = _mm256_set1_ps(level - offset);
    RowCounts counts;
    for (int64_t x = begin; x < end; x += 64) {
        uint64_t word = 0, over = 0, under = 0, live = 0;
        for (int64_t part = 0; part < 64 && x + part < end; part += 8) {
            const __m256i m = tail(end - x - part);
            __m256 value = _mm256_mul_ps(_mm256_set1_ps(weights[0]),
                                         _mm256_maskload_ps(rows[0] + x + part, m));
            for (int64_t t = 1; t < taps; ++t) {
                value = _mm256_fmadd_ps(_mm256_set1_ps(weights[t]),
                                        _mm256_maskload_ps(rows[t] + x + part, m), value);
            }
            word |= above(value, at, m) << part;
            over |= above(value, high, m) << part;
            under |= above(value, low, m) << part;
            live |= static_cast<uint64_t>(
                        static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(m))))
                    << part;
        }
        bits[x / 64] = (bits[x / 64] & ~live) | word;
        counts.area += __builtin_popcountll(word);
        counts.above += __builtin_popcountll(over);
        counts.below += __builtin_popcountll(under);
    }
    return counts;
}

void compare(const float* values, int64_t count, float level, uint64_t* bits) {
    const __m256 at = _mm256_set1_ps(level);
    for (int64_t x = 0; x < count; x += 64) {
        uint64_t word = 0;
        for (int64_t part = 0; part < 64 && x + part < count; part += 8) {
            const __m256i m = tail(count - x - part);
            word |= above(_mm256_maskload_ps(values + x + part, m), at, m) << part;
        }
        bits[x / 64] = word;
    }
}

}  // namespace

const Table& avx2() {
    static const Table table{expand, threshold, compare};
    return table;
}

}  // namespace segrid::mask_scan
