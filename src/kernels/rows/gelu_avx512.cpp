// GELU by a table of the normal distribution, and CLIP's quick form of it.
#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/rows/avx512_lanes.h"
#include "kernels/rows/implementations.h"

namespace segrid::rows {
namespace {

// Phi(t) - 1/2 of the normal distribution for 0 <= t < kReach, as polynomials of degree 4 in 32
// equal intervals, interpolated at the Chebyshev nodes of each. Their error (2e-9) is far below
// fp32's. Beyond kReach, Phi(t) - 1/2 equals 1/2 in fp32.
struct HalfNormal {
    static constexpr int kIntervals = 32, kTerms = 5;
    static constexpr double kReach = 5.76, kWidth = kReach / kIntervals;
    // Coefficients of the powers of u, the position in the interval, in [-1/2, 1/2).
    alignas(64) float term[kTerms][kIntervals];

    HalfNormal() {
        for (int i = 0; i < kIntervals; ++i) {
            double m[kTerms][kTerms + 1];  // the Vandermonde matrix and the values
            for (int j = 0; j < kTerms; ++j) {
                const double u = 0.5 * std::cos((2 * j + 1) * M_PI / (2 * kTerms));
                for (int t = 0; t < kTerms; ++t) m[j][t] = std::pow(u, t);
                m[j][kTerms] = 0.5 * std::erf((i + 0.5 + u) * kWidth * M_SQRT1_2);
            }
            for (int p = 0; p < kTerms; ++p) {  // Gauss-Jordan elimination, partial pivoting
                int best = p;
                for (int j = p + 1; j < kTerms; ++j)
                    best = std::abs(m[j][p]) > std::abs(m[best][p]) ? j : best;
                for (int t = 0; t <= kTerms; ++t) std::swap(m[p][t], m[best][t]);
                for (int j = 0; j < kTerms; ++j) {
                    const double f = m[j][p] / m[p][p];
                    for (int t = p; j != p && t <= kTerms; ++t) m[j][t] -= f * m[p][t];
                }
            }
            for (int t = 0; t < kTerms; ++t)
                term[t][i] = static_cast<float>(m[t][kTerms] / m[t][t]);
        }
    }
};

}  // namespace

// x Phi(x) = x / 2 + |x| (Phi(|x|) - 1/2)
void gelu_rows_avx512(int64_t rows, int64_t n, float* x, int64_t ld) {
    static const HalfNormal table;
    __m512 low[HalfNormal::kTerms], high[HalfNormal::kTerms];
    for (int t = 0; t < HalfNormal::kTerms; ++t) {
        low[t] = _mm512_load_ps(table.term[t]);
        high[t] = _mm512_load_ps(table.term[t] + 16);
    }
    const __m512 scale = _mm512_set1_ps(static_cast<float>(1 / HalfNormal::kWidth)),
                 half = _mm512_set1_ps(0.5F);
    const __m512 end = _mm512_set1_ps(31.999998F);
    const auto step = [&](int64_t i, auto lanes, int) {
        const __m512 v = lanes.load(x + i), t = _mm512_abs_ps(v);
        // This order of operands keeps NaN.
        const __m512 place = _mm512_min_ps(end, _mm512_mul_ps(t, scale));
        const __m512i interval = _mm512_cvttps_epi32(place);
        const __m512 u = _mm512_sub_ps(_mm512_sub_ps(place, _mm512_cvtepi32_ps(interval)), half);
        __m512 p = _mm512_permutex2var_ps(low[4], interval, high[4]);
        for (int k = 3; k >= 0; --k)
            p = _mm512_fmadd_ps(p, u, _mm512_permutex2var_ps(low[k], interval, high[k]));
        lanes.store(x + i, _mm512_fmadd_ps(t, p, _mm512_mul_ps(half, v)));
    };
    for (; rows > 0; --rows, x += ld) for_vectors(n, step);
}

void quick_gelu_avx512(int64_t n, float* x) {
    const __m512 factor = _mm512_set1_ps(-1.702F), one = _mm512_set1_ps(1.0F);
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        const __m512 v = lanes.load(x + i);
        lanes.store(x + i, _mm512_div_ps(v, _mm512_add_ps(one, exp16(_mm512_mul_ps(factor, v)))));
    });
}

}  // namespace segrid::rows
