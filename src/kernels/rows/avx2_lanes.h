// Exponentials in eight lanes. The files that include this are compiled for AVX2, so everything
// here has internal linkage.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstdint>

namespace segrid::rows {
namespace {

// exp(x) for x of at most 0, with a relative error of 2e-7 (4e-7 near -87): 2^n times a polynomial
// in the remainder. 0 below -87; NaN stays NaN.
constexpr float kLeast = -87.0F, kLog2e = 1.44269504F, kLn2 = 0.693147181F;
// A number as small as n becomes n rounded when this is added, with n + 127 as its lowest bits.
constexpr float kRound = 12582912.0F + 127.0F;
constexpr float kPowers[] = {8.290272029e-3F, 4.189815966e-2F, 1.666763813e-1F,
                             4.999914784e-1F, 9.999997063e-1F, 1.0F};

inline float exponential(float x) {
    const float clamped = x < kLeast ? kLeast : x;
    const float shifted = clamped * kLog2e + kRound;
    const float r = clamped - (shifted - kRound) * kLn2;
    float p = kPowers[0];
    for (int i = 1; i < 6; ++i) p = p * r + kPowers[i];
    const auto power = std::bit_cast<float>(std::bit_cast<int32_t>(shifted) << 23);
    return x < kLeast ? 0.0F : p * power;
}

// The same of vectors of eight numbers, step by step for all of them, because each step of one has
// to wait for the step before.
template <int kVectors>
inline void exponentials(__m256 (&x)[kVectors]) {
    const __m256 least = _mm256_set1_ps(kLeast), round = _mm256_set1_ps(kRound);
    __m256 shifted[kVectors], r[kVectors], p[kVectors];
    for (int i = 0; i < kVectors; ++i) {
        r[i] = _mm256_max_ps(least, x[i]);
        shifted[i] = _mm256_fmadd_ps(r[i], _mm256_set1_ps(kLog2e), round);
    }
    for (int i = 0; i < kVectors; ++i) {
        r[i] = _mm256_fnmadd_ps(_mm256_sub_ps(shifted[i], round), _mm256_set1_ps(kLn2), r[i]);
        p[i] = _mm256_set1_ps(kPowers[0]);
    }
    for (int term = 1; term < 6; ++term) {
        for (int i = 0; i < kVectors; ++i)
            p[i] = _mm256_fmadd_ps(p[i], r[i], _mm256_set1_ps(kPowers[term]));
    }
    for (int i = 0; i < kVectors; ++i) {
        const __m256 power =
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted[i]), 23));
        x[i] = _mm256_andnot_ps(_mm256_cmp_ps(x[i], least, _CMP_LT_OQ), _mm256_mul_ps(p[i], power));
    }
}

inline __m256 exponential(__m256 x) {
    __m256 one[1] = {x};
    exponentials(one);
    return one[0];
}

}  // namespace
}  // namespace segrid::rows
