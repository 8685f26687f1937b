#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/rows/avx512_lanes.h"
#include "kernels/rows/implementations.h"

namespace segrid::rows {
namespace {

// 2^x: 2^n times a polynomial in the remainder, which lies in [-1/2, 1/2]; it has the least
// relative error, 2.6e-6. A result that is too small for a normal number is 0 (see exp16).
inline __m512 power16(__m512 x) {
    const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0F), _CMP_NLT_UQ);
    const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT), r = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(9.5701016526e-03F);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.5917862104e-02F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4024744850e-01F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9312181452e-01F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.9999926143e-01F));
    return _mm512_maskz_scalef_ps(normal, p, n);
}

}  // namespace

float running_power_row_avx512bf16(int64_t n, const float* s, float& max, float& sum,
                                   uint16_t* out) {
    const __m512 low = _mm512_set1_ps(-std::numeric_limits<float>::infinity()),
                 high = _mm512_set1_ps(max + kPowerRoom);
    __m512 tops[2] = {high, high};
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        tops[0] = _mm512_max_ps(tops[0], _mm512_loadu_ps(s + i));
        tops[1] = _mm512_max_ps(tops[1], _mm512_loadu_ps(s + i + 16));
    }
    for (; i < n; i += 16)
        tops[0] = _mm512_max_ps(tops[0], _mm512_mask_loadu_ps(low, tail(n - i), s + i));
    tops[0] = _mm512_max_ps(tops[0], tops[1]);
    float scale = 1.0F;
    if (_mm512_cmp_ps_mask(tops[0], high, _CMP_GT_OQ) != 0) {
        const float top = _mm512_reduce_max_ps(tops[0]);
        scale = std::exp2(max - top);
        max = top;
    }
    const __m512 top = _mm512_set1_ps(max);
    const auto ones = (__m512bh)_mm512_set1_epi16(0x3F80);
    __m512 total = _mm512_setzero_ps();
    for (i = 0; i + 32 <= n; i += 32) {
        const __m512 a = power16(_mm512_sub_ps(_mm512_loadu_ps(s + i), top)),
                     b = power16(_mm512_sub_ps(_mm512_loadu_ps(s + i + 16), top));
        const __m512bh both = _mm512_cvtne2ps_pbh(b, a);
        total = _mm512_dpbf16_ps(total, both, ones);
        _mm512_storeu_si512(out + i, (__m512i)both);
    }
    for (; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512bh last = _mm512_cvtne2ps_pbh(
            _mm512_setzero_ps(), power16(_mm512_sub_ps(_mm512_mask_loadu_ps(low, m, s + i), top)));
        total = _mm512_dpbf16_ps(total, last, ones);
        _mm256_mask_storeu_epi16(out + i, m, _mm512_castsi512_si256((__m512i)last));
    }
    sum = sum * scale + _mm512_reduce_add_ps(total);
    return scale;
}

void to_bf16_avx512bf16(int64_t n, const float* x, uint16_t* out) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m512bh two =
            _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
        _mm512_storeu_si512(out + i, (__m512i)two);
    }
    for (; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        _mm256_mask_storeu_epi16(out + i, m,
                                 (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, x + i)));
    }
}

void pair_bf16_avx512bf16(int64_t n, const float* a, const float* b, uint16_t* out) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const auto first = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, a + i));
        const auto second = b == nullptr
                                ? _mm256_setzero_si256()
                                : (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, b + i));
        const __m512i low = _mm512_cvtepu16_epi32(first),
                      high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
        _mm512_mask_storeu_epi32(out + 2 * i, m, _mm512_or_si512(low, high));
    }
}

}  // namespace segrid::rows
