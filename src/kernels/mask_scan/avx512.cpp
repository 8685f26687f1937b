#include <immintrin.h>

#include <algorithm>

#include "kernels/mask_scan/implementations.h"

namespace segrid::mask_scan {
namespace {

inline __mmask16 tail(int64_t left) {
    return left >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << left) - 1U);
}

// If sixteen adjacent outputs of an enlargement read at most sixteen inputs, one load and one
// permutation per tap replace a gather.
void expand(const ScanAxis& axis, const float* row, int64_t begin, int64_t end, float* out) {
    for (int64_t x = begin; x < end; x += 16) {
        const __mmask16 m = tail(end - x);
        const __m512i first = _mm512_maskz_loadu_epi32(m, axis.first.data() + x);
        const int64_t from = axis.first[static_cast<std::size_t>(x)];
        const bool near =
            axis.first[static_cast<std::size_t>(std::min(x + 15, end - 1))] + axis.taps - from <=
            16;
        const __m512i place = _mm512_sub_epi32(first, _mm512_set1_epi32(static_cast<int>(from)));
        const __m512 inputs = near ? _mm512_maskz_loadu_ps(tail(axis.inputs - from), row + from)
                                   : _mm512_setzero_ps();
        __m512 sum = _mm512_setzero_ps();
        for (int64_t t = 0; t < axis.taps; ++t) {
            const __m512 w = _mm512_maskz_loadu_ps(m, axis.weights.data() + t * axis.outputs + x);
            const __m512 v =
                near ? _mm512_permutexvar_ps(
                           _mm512_add_epi32(place, _mm512_set1_epi32(static_cast<int>(t))), inputs)
                     : _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, first, row + t, 4);
            sum = t == 0 ? _mm512_mul_ps(w, v) : _mm512_fmadd_ps(w, v, sum);
        }
        _mm512_mask_storeu_ps(out + x, m, sum);
    }
}

RowCounts threshold(const float* const* rows, const float* weights, int64_t taps, int64_t begin,
                    int64_t end, float level, float offset, uint64_t* bits) {
    const __m512 at = _mm512_set1_ps(level), high = _mm512_set1_ps(level + offset),
                 low = _mm512_set1_ps(level - offset);
    RowCounts counts;
    for (int64_t x = begin; x < end; x += 64) {
        uint64_t word = 0, above = 0, below = 0, live = 0;
        for (int64_t part = 0; part < 64 && x + part < end; part += 16) {
            const __mmask16 m = tail(end - x - part);
            __m512 value = _mm512_mul_ps(_mm512_set1_ps(weights[0]),
                                         _mm512_maskz_loadu_ps(m, rows[0] + x + part));
            for (int64_t t = 1; t < taps; ++t) {
                value = _mm512_fmadd_ps(_mm512_set1_ps(weights[t]),
                                        _mm512_maskz_loadu_ps(m, rows[t] + x + part), value);
            }
            word |= static_cast<uint64_t>(_mm512_mask_cmp_ps_mask(m, value, at, _CMP_GT_OQ))
                    << part;
            above |= static_cast<uint64_t>(_mm512_mask_cmp_ps_mask(m, value, high, _CMP_GT_OQ))
                     << part;
            below |= static_cast<uint64_t>(_mm512_mask_cmp_ps_mask(m, value, low, _CMP_GT_OQ))
                     << part;
            live |= static_cast<uint64_t>(m) << part;
        }
        bits[x / 64] = (bits[x / 64] & ~live) | word;
        counts.area += __builtin_popcountll(word);
        counts.above += __builtin_popcountll(above);
        counts.below += __builtin_popcountll(below);
    }
    return counts;
}

void compare(const float* values, int64_t count, float level, uint64_t* bits) {
    const __m512 at = _mm512_set1_ps(level);
    for (int64_t x = 0; x < count; x += 64) {
        uint64_t word = 0;
        for (int64_t part = 0; part < 64 && x + part < count; part += 16) {
            const __mmask16 m = tail(count - x - part);
            const __m512 v = _mm512_maskz_loadu_ps(m, values + x + part);
            word |= static_cast<uint64_t>(_mm512_mask_cmp_ps_mask(m, v, at, _CMP_GT_OQ)) << part;
        }
        bits[x / 64] = word;
    }
}

}  // namespace

const Table& avx512() {
    static const Table table{expand, threshold, compare};
    return table;
}

}  // namespace segrid::mask_scan
