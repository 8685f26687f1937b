#include <immintrin.h>

#include <algorithm>

#include "kernels/rows/implementations.h"

namespace segrid::rows {
namespace {

inline __mmask16 tail(int64_t left) {
    return left >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << left) - 1U);
}

}  // namespace

void to_bf16_avx512bf16(int64_t n, const float* x, uint16_t* out) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m512bh two = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
        _mm512_storeu_si512(out + i, (__m512i)two);
    }
    for (; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        _mm256_mask_storeu_epi16(out + i, m, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, x + i)));
    }
}

void pair_bf16_avx512bf16(int64_t n, const float* a, const float* b, uint16_t* out) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const auto first = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, a + i));
        const auto second = b == nullptr ? _mm256_setzero_si256() : (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, b + i));
        const __m512i low = _mm512_cvtepu16_epi32(first), high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
        _mm512_mask_storeu_epi32(out + 2 * i, m, _mm512_or_si512(low, high));
    }
}

}  // namespace segrid::rows
