// For CPUs without AVX-512. Most are loops that the compiler vectorises to eight lanes (the flags
// are in src/CMakeLists.txt), with an exponential that it can vectorise too; `omp simd` permits it
// to reorder additions in the marked sums only. GELU, and what a decoder does for every image
// token, are written with instructions, because the compiler's loops for them are slow.
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/rows/implementations.h"
#include "kernels/rows/loops.h"

namespace segrid::rows {
namespace {

// exp to 1 ulp: 2^n times a polynomial in the remainder (Cephes coefficients). 0 below -87; NaN
// stays NaN. x is at most 88.
inline float exponential(float x) {
    const float clamped = x < -87.0F ? -87.0F : x;
    const float n = std::rint(clamped * 1.44269504F);
    const float r = (clamped - n * 0.693359375F) - n * -2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + (r + 1.0F);
    const auto power = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
    return x < -87.0F ? 0.0F : p * power;
}

// The same of vectors of eight numbers, step by step for all of them, because each step of one has
// to wait for the step before.
template <int kVectors>
inline void exponentials(__m256 (&x)[kVectors]) {
    const __m256 least = _mm256_set1_ps(-87.0F);
    __m256 n[kVectors], r[kVectors], p[kVectors];
    for (int i = 0; i < kVectors; ++i) {
        r[i] = _mm256_max_ps(least, x[i]);
        n[i] = _mm256_round_ps(_mm256_mul_ps(r[i], _mm256_set1_ps(1.44269504F)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    for (const float c : {0.693359375F, -2.12194440e-4F}) {
        for (int i = 0; i < kVectors; ++i) r[i] = _mm256_fnmadd_ps(n[i], _mm256_set1_ps(c), r[i]);
    }
    for (int i = 0; i < kVectors; ++i) p[i] = _mm256_set1_ps(1.9875691500e-4F);
    for (const float c : {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F,
                          5.0000001201e-1F}) {
        for (int i = 0; i < kVectors; ++i) p[i] = _mm256_fmadd_ps(p[i], r[i], _mm256_set1_ps(c));
    }
    for (int i = 0; i < kVectors; ++i) {
        p[i] = _mm256_fmadd_ps(p[i], _mm256_mul_ps(r[i], r[i]),
                               _mm256_add_ps(r[i], _mm256_set1_ps(1.0F)));
        const __m256i power = _mm256_slli_epi32(
            _mm256_add_epi32(_mm256_cvtps_epi32(n[i]), _mm256_set1_epi32(127)), 23);
        // 0 below the least; NaN stays NaN.
        x[i] = _mm256_andnot_ps(_mm256_cmp_ps(x[i], least, _CMP_LT_OQ),
                                _mm256_mul_ps(p[i], _mm256_castsi256_ps(power)));
    }
}

inline __m256 exponential(__m256 x) {
    __m256 one[1] = {x};
    exponentials(one);
    return one[0];
}

void relu(int64_t n, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] < 0.0F ? 0.0F : x[i];
}

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

void gelu_rows(int64_t rows, int64_t n, float* x, int64_t ld) {
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

void quick_gelu(int64_t n, float* x) {
    for (int64_t i = 0; i < n; ++i) {
        const float e = exponential(-1.702F * std::abs(x[i]));
        x[i] *= (x[i] < 0.0F ? e : 1.0F) / (1.0F + e);
    }
}

// Eight numbers or one, like the first argument.
inline __m256 load(__m256, const float* p) { return _mm256_loadu_ps(p); }
inline float load(float, const float* p) { return *p; }
inline void store(float* p, __m256 v) { _mm256_storeu_ps(p, v); }
inline void store(float* p, float v) { *p = v; }

// The sum of n numbers: step(sum, i) adds to `sum` the eight from i on, or, where it is a float,
// the one at i. Four vectors of sums are under way at once, because an addition takes a while.
template <class Step>
inline float sum_over(int64_t n, const Step& step) {
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                      _mm256_setzero_ps()};
    float rest = 0;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) step(sums[j], i + 8 * j);
    }
    for (; i + 8 <= n; i += 8) step(sums[0], i);
    for (; i < n; ++i) step(rest, i);
    const __m256 eight = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return rest + _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

float dot(int64_t n, const float* a, const float* b) {
    return sum_over(n, [&](auto& sum, int64_t i) { sum += load(sum, a + i) * load(sum, b + i); });
}

inline float normalise(int64_t n, float sum, const float* x, const float* gamma, const float* beta,
                       float eps, float* out) {
    const float mean = sum / static_cast<float>(n);
    const float square = sum_over(n, [&](auto& squares, int64_t i) {
        const auto distance = load(squares, x + i) - mean;
        squares += distance * distance;
    });
    const float inverse = 1.0F / std::sqrt(square / static_cast<float>(n) + eps);
    const auto write = [&](auto like, int64_t i) {
        const auto scaled = (load(like, x + i) - mean) * inverse;
        store(out + i, scaled * load(like, gamma + i) + load(like, beta + i));
    };
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) write(__m256{}, i);
    for (; i < n; ++i) write(float{}, i);
    return inverse;
}

float layer_norm(int64_t n, const float* x, const float* gamma, const float* beta, float eps,
                 float* out) {
    const float sum = sum_over(n, [&](auto& total, int64_t i) { total += load(total, x + i); });
    return normalise(n, sum, x, gamma, beta, eps, out);
}

void residual_norm(int64_t n, const float* x, const float* bias, const float* residual,
                   const float* gamma, const float* beta, float eps, float* out) {
    const float sum = sum_over(n, [&](auto& total, int64_t i) {
        const auto both = load(total, x + i) + load(total, bias + i) + load(total, residual + i);
        store(out + i, both);
        total += both;
    });
    normalise(n, sum, out, gamma, beta, eps, out);
}

// Reduces each group of kSize lanes with `op` and puts the result in every lane of the group.
template <int kSize, class Op>
inline __m256 within_groups(__m256 v, const Op& op) {
    if constexpr (kSize >= 2) v = op(v, _mm256_permute_ps(v, 0xB1));
    if constexpr (kSize >= 4) v = op(v, _mm256_permute_ps(v, 0x4E));
    if constexpr (kSize >= 8) v = op(v, _mm256_permute2f128_ps(v, v, 1));
    return v;
}

// Groups of kSize (at most 8) lanes, or of kVectors whole vectors; kTogether groups of vectors at a
// time. count is a multiple of 8 kVectors kTogether.
template <int kSize, int kVectors, int kTogether>
inline void softmax_vectors(int64_t count, const float* bias, float* x) {
    constexpr int kAll = kVectors * kTogether;
    const auto largest = [](__m256 a, __m256 b) { return _mm256_max_ps(a, b); };
    const auto total = [](__m256 a, __m256 b) { return _mm256_add_ps(a, b); };
    for (int64_t i = 0; i < count; i += 8 * kAll) {
        __m256 v[kAll];
        for (int j = 0; j < kAll; ++j) {
            v[j] = _mm256_loadu_ps(x + i + 8 * j);
            if (bias != nullptr) v[j] = _mm256_add_ps(v[j], _mm256_loadu_ps(bias + i + 8 * j));
        }
        // Calls step(j, r) for the vectors j of each group, where r is what `op` makes of the
        // group.
        const auto reduced = [&](const auto& op, const auto& step) {
            for (int g = 0; g < kAll; g += kVectors) {
                __m256 r = v[g];
                for (int j = g + 1; j < g + kVectors; ++j) r = op(r, v[j]);
                r = within_groups<kSize>(r, op);
                for (int j = g; j < g + kVectors; ++j) step(j, r);
            }
        };
        reduced(largest, [&](int j, __m256 top) { v[j] = _mm256_sub_ps(v[j], top); });
        exponentials(v);
        reduced(total, [&](int j, __m256 sum) {
            _mm256_storeu_ps(x + i + 8 * j, _mm256_div_ps(v[j], sum));
        });
    }
}

template <int kSize, int kVectors = 1>
void softmax_small_groups(int64_t count, const float* bias, float* x) {
    constexpr int kTogether = 4 / kVectors;
    const int64_t whole = count / 32 * 32;
    softmax_vectors<kSize, kVectors, kTogether>(whole, bias, x);
    softmax_vectors<kSize, kVectors, 1>(count - whole, bias != nullptr ? bias + whole : nullptr,
                                        x + whole);
}

void softmax_any_groups(int64_t count, int64_t size, const float* bias, float* x) {
    if (bias != nullptr) add(count, x, bias, x);
    for (int64_t g = 0; g < count; g += size) {
        float* own = x + g;
        float max = -std::numeric_limits<float>::infinity(), sum = 0;
#pragma omp simd reduction(max : max)
        for (int64_t i = 0; i < size; ++i) max = max > own[i] ? max : own[i];
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < size; ++i) sum += own[i] = exponential(own[i] - max);
        const float inverse = 1.0F / sum;
        for (int64_t i = 0; i < size; ++i) own[i] *= inverse;
    }
}

void softmax_groups(int64_t count, int64_t size, const float* bias, float* x) {
    if (count % 8 != 0) return softmax_any_groups(count, size, bias, x);
    switch (size) {
        case 4: return softmax_small_groups<4>(count, bias, x);
        case 8: return softmax_small_groups<8>(count, bias, x);
        case 16:
            if (count % 16 == 0) return softmax_small_groups<8, 2>(count, bias, x);
            [[fallthrough]];
        default: return softmax_any_groups(count, size, bias, x);
    }
}

// 8 x 8 transpose: row i of the input becomes column i of the output.
inline void transpose8(const __m256 (&in)[8], float* out, int64_t ld) {
    __m256 t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(in[i], in[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(in[i], in[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(out + i * ld, _mm256_permute2f128_ps(u[i], u[i + 4], 0x20));
        _mm256_storeu_ps(out + (i + 4) * ld, _mm256_permute2f128_ps(u[i], u[i + 4], 0x31));
    }
}

void transpose(int64_t rows, int64_t columns, const float* in, int64_t ldi, float* out,
               int64_t ldo) {
    const int64_t whole = columns / 8 * 8;
    int64_t i = 0;
    for (; i + 8 <= rows; i += 8) {
        for (int64_t j = 0; j < whole; j += 8) {
            __m256 block[8];
            for (int64_t r = 0; r < 8; ++r) block[r] = _mm256_loadu_ps(in + (i + r) * ldi + j);
            transpose8(block, out + j * ldo + i, ldo);
        }
        for (int64_t j = whole; j < columns; ++j) {
            for (int64_t r = i; r < i + 8; ++r) out[j * ldo + r] = in[r * ldi + j];
        }
    }
    for (; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) out[j * ldo + i] = in[i * ldi + j];
    }
}

bool running_softmax_columns(int64_t rows, int64_t columns, Rows<const float> s, float* max,
                             float* sum, float* scale, Rows<float> p_t) {
    bool rescaled = false;
    for (int64_t c = 0; c < columns; c += 8) {  // columns is a multiple of 16
        const __m256 before = _mm256_loadu_ps(max + c);
        __m256 top = before;
        for (int64_t r = 0; r < rows; ++r) top = _mm256_max_ps(top, _mm256_loadu_ps(s[r] + c));
        const __m256 raised = _mm256_cmp_ps(top, before, _CMP_NEQ_UQ), one = _mm256_set1_ps(1.0F);
        __m256 factor = one;
        if (_mm256_movemask_ps(raised) != 0) {
            rescaled = true;
            factor = _mm256_blendv_ps(one, exponential(_mm256_sub_ps(before, top)), raised);
        }
        _mm256_storeu_ps(scale + c, factor);
        _mm256_storeu_ps(max + c, top);
        __m256 total = _mm256_setzero_ps();
        const auto power = [&](int64_t r) {
            const __m256 e = exponential(_mm256_sub_ps(_mm256_loadu_ps(s[r] + c), top));
            total = _mm256_add_ps(total, e);
            return e;
        };
        int64_t r = 0;
        for (; r + 8 <= rows; r += 8) {
            __m256 e[8];
            for (int64_t i = 0; i < 8; ++i) e[i] = power(r + i);
            transpose8(e, p_t[c] + r, p_t.stride);
        }
        for (; r < rows; ++r) {
            float e[8];
            _mm256_storeu_ps(e, power(r));
            for (int64_t i = 0; i < 8; ++i) p_t[c + i][r] = e[i];
        }
        _mm256_storeu_ps(sum + c, _mm256_fmadd_ps(_mm256_loadu_ps(sum + c), factor, total));
    }
    return rescaled;
}

float running_softmax_row(int64_t n, float* s, float& max, float& sum) {
    float top = max, total = 0;
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < n; ++i) top = top > s[i] ? top : s[i];
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < n; ++i) total += s[i] = exponential(s[i] - top);
    const float scale = top == max ? 1.0F : exponential(max - top);
    max = top;
    sum = sum * scale + total;
    return scale;
}

}  // namespace

const Table& avx2() {
    static const Table table{add,
                             multiply_add,
                             multiply,
                             scale_add,
                             relu,
                             gelu_rows,
                             quick_gelu,
                             layer_norm,
                             residual_norm,
                             softmax_groups,
                             running_softmax_columns,
                             running_softmax_row,
                             running_power_row,
                             scale_row,
                             dot,
                             offset_rows,
                             turn_row,
                             turn_rows,
                             blend_row,
                             transpose,
                             to_bf16,
                             pair_bf16,
                             quantise_row,
                             dequantise_row};
    return table;
}

}  // namespace segrid::rows
