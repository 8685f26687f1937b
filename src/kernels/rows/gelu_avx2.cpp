// GELU by a polynomial of the normal distribution's tail, and CLIP's quick form of it.
#include <algorithm>
#include <cmath>

#include "kernels/rows/avx2_lanes.h"
#include "kernels/rows/implementations.h"

namespace segrid::rows {
namespace {

// x Phi(x) = max(x, 0) - t (1 - Phi(t)), t = |x|. The tail 1 - Phi(t) of the normal distribution is
// q(t)^-8 for a polynomial q, fitted for the least error of the product: 5e-8, and 2e-7 with the
// roundings. From kReach on, where the product is 6e-9, it stays what it is there.
// kVectors of eight numbers at a time, because each step of one has to wait for the step before.
template <int kVectors>
inline void gelu(float* x) {
    constexpr float kReach = 6.0F;
    constexpr float kTerms[] = {3.197909791e-06F, -1.826300286e-05F, 1.064142998e-04F,
                                1.214284930e-04F, 1.069420716e-03F,  9.369240142e-03F,
                                4.884253442e-02F, 1.087590605e-01F,  1.090507746e+00F};
    __m256 v[kVectors], t[kVectors], q[kVectors];
    for (int i = 0; i < kVectors; ++i) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        // These orders of operands keep NaN.
        t[i] = _mm256_min_ps(_mm256_set1_ps(kReach), _mm256_andnot_ps(_mm256_set1_ps(-0.0F), v[i]));
        q[i] = _mm256_set1_ps(kTerms[0]);
    }
    for (int term = 1; term < 9; ++term) {
        for (int i = 0; i < kVectors; ++i)
            q[i] = _mm256_fmadd_ps(q[i], t[i], _mm256_set1_ps(kTerms[term]));
    }
    for (int square = 0; square < 3; ++square) {
        for (int i = 0; i < kVectors; ++i) q[i] = _mm256_mul_ps(q[i], q[i]);
    }
    for (int i = 0; i < kVectors; ++i) {
        const __m256 above = _mm256_max_ps(_mm256_setzero_ps(), v[i]);
        _mm256_storeu_ps(x + 8 * i, _mm256_sub_ps(above, _mm256_div_ps(t[i], q[i])));
    }
}

}  // namespace

void gelu_rows_avx2(int64_t rows, int64_t n, float* x, int64_t ld) {
    for (; rows > 0; --rows, x += ld) {
        int64_t i = 0;
        for (; i + 32 <= n; i += 32) gelu<4>(x + i);
        for (; i + 8 <= n; i += 8) gelu<1>(x + i);
        if (i == n) continue;
        float rest[8] = {};
        std::copy(x + i, x + n, rest);
        gelu<1>(rest);
        std::copy_n(rest, n - i, x + i);
    }
}

void quick_gelu_avx2(int64_t n, float* x) {
    for (int64_t i = 0; i < n; ++i) {
        const float e = exponential(-1.702F * std::abs(x[i]));
        x[i] *= (x[i] < 0.0F ? e : 1.0F) / (1.0F + e);
    }
}

}  // namespace segrid::rows
