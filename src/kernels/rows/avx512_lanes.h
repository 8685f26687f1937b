// Vectors of AVX-512 along a row, for the avx512 files of this folder. Each file has its own copy
// of these functions, because each is compiled for other instructions.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace segrid::rows {
namespace {

inline __mmask16 tail(int64_t left) {
    return left >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << left) - 1U);
}

// Access to one vector of a row: a whole one, or the partial one at the row's end. Missing lanes
// are read as 0 (or as `other`) and are not written.
struct Whole {
    __m512 load(const float* p) const { return _mm512_loadu_ps(p); }
    __m512 load(const float* p, __m512) const { return _mm512_loadu_ps(p); }
    void store(float* p, __m512 v) const { _mm512_storeu_ps(p, v); }
    __m512 keep(__m512 v) const { return v; }
};
struct Part {
    __mmask16 mask;
    __m512 load(const float* p) const { return _mm512_maskz_loadu_ps(mask, p); }
    __m512 load(const float* p, __m512 other) const { return _mm512_mask_loadu_ps(other, mask, p); }
    void store(float* p, __m512 v) const { _mm512_mask_storeu_ps(p, mask, v); }
    __m512 keep(__m512 v) const { return _mm512_maskz_mov_ps(mask, v); }
};

// Calls step(i, lanes, k) for every vector of a row of n. k alternates between 0 and 1, so that two
// independent sums do not wait for each other.
template <class Step>
inline void for_vectors(int64_t n, const Step& step) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        step(i, Whole{}, 0);
        step(i + 16, Whole{}, 1);
    }
    for (; i < n; i += 16) step(i, Part{tail(n - i)}, 0);
}

// exp to 1 ulp: 2^n times a polynomial in the remainder (Cephes coefficients). scalef handles
// overflow. A result that is too small for a normal number is 0, because the processor takes a
// hundred cycles to make a denormal one.
inline __m512 exp16(__m512 x) {
    const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.33654F), _CMP_NLT_UQ);
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504F)),
                                          _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375F), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4F), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4F);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1F));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0F)));
    return _mm512_maskz_scalef_ps(normal, p, n);
}

}  // namespace
}  // namespace segrid::rows
