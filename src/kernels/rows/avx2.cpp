// For CPUs without AVX-512. Most are loops that the compiler vectorises to eight lanes (the flags
// are in src/CMakeLists.txt), with an exponential that it can vectorise too; `omp simd` permits it
// to reorder additions in the marked sums only. The softmaxes, and what a decoder does for every
// image token, are written with instructions, because the compiler's loops for them are slow.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/rows/avx2_lanes.h"
#include "kernels/rows/implementations.h"
#include "kernels/rows/loops.h"

namespace segrid::rows {
namespace {

void relu(int64_t n, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] < 0.0F ? 0.0F : x[i];
}

// Eight numbers or one, like the first argument.
inline __m256 load(__m256, const float* p) { return _mm256_loadu_ps(p); }
inline float load(float, const float* p) { return *p; }
inline void store(float* p, __m256 v) { _mm256_storeu_ps(p, v); }
inline void store(float* p, float v) { *p = v; }

inline float total_of(const __m256 (&sums)[4]) {
    const __m256 eight = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

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
    return rest + total_of(sums);
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

inline __m256 larger(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
inline __m256 smaller(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }

// What `op` makes of all 32 numbers.
template <class Op>
inline float across(const __m256 (&v)[4], const Op& op) {
    return _mm256_cvtss_f32(within_groups<8>(op(op(v[0], v[1]), op(v[2], v[3])), op));
}

// Groups of kSize (at most 8) lanes, or of kVectors whole vectors; kTogether groups of vectors at a
// time. count is a multiple of 8 kVectors kTogether.
template <int kSize, int kVectors, int kTogether>
inline void softmax_vectors(int64_t count, const float* bias, float* x) {
    constexpr int kAll = kVectors * kTogether;
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
        reduced(larger, [&](int j, __m256 top) { v[j] = _mm256_sub_ps(v[j], top); });
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
    const __m256 before = _mm256_set1_ps(max);
    __m256 tops[4] = {before, before, before, before};
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j)
            tops[j] = _mm256_max_ps(tops[j], _mm256_loadu_ps(s + i + 8 * j));
    }
    for (; i + 8 <= n; i += 8) tops[0] = _mm256_max_ps(tops[0], _mm256_loadu_ps(s + i));
    float top = across(tops, larger), rest = 0;
    for (; i < n; ++i) top = top > s[i] ? top : s[i];

    const __m256 highest = _mm256_set1_ps(top);
    __m256 sums[4] = {};
    const auto powers = [&]<int kVectors>(std::integral_constant<int, kVectors>) {
        __m256 e[kVectors];
        for (int j = 0; j < kVectors; ++j)
            e[j] = _mm256_sub_ps(_mm256_loadu_ps(s + i + 8 * j), highest);
        exponentials(e);
        for (int j = 0; j < kVectors; ++j) {
            _mm256_storeu_ps(s + i + 8 * j, e[j]);
            sums[j] = _mm256_add_ps(sums[j], e[j]);
        }
    };
    for (i = 0; i + 32 <= n; i += 32) powers(std::integral_constant<int, 4>());
    for (; i + 8 <= n; i += 8) powers(std::integral_constant<int, 1>());
    for (; i < n; ++i) rest += s[i] = exponential(s[i] - top);
    const float scale = top == max ? 1.0F : exponential(max - top);
    max = top;
    sum = sum * scale + (total_of(sums) + rest);
    return scale;
}

bool quantise_row(int64_t n, const float* x, uint8_t* q, RowScale& row) {
    const __m256 zero = _mm256_setzero_ps();
    __m256 low[4] = {zero, zero, zero, zero}, high[4] = {zero, zero, zero, zero},
           poison[4] = {zero, zero, zero, zero};
    const auto see = [&](__m256 v, int k) {
        low[k] = _mm256_min_ps(low[k], v);
        high[k] = _mm256_max_ps(high[k], v);
        poison[k] = _mm256_fmadd_ps(v, zero, poison[k]);  // becomes NaN if v is NaN or Inf
    };
    const int64_t whole = n / 32 * 32;
    for (int64_t i = 0; i < whole; i += 32) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) see(_mm256_loadu_ps(x + i + 8 * k), k);
    }
    for (int64_t i = whole; i < n; ++i) see(_mm256_set1_ps(x[i]), 0);
    const float least = across(low, smaller), most = across(high, larger);
    if (total_of(poison) != 0.0F || !std::isfinite(most - least)) return false;
    row = row_scale(least, most);
    const float inverse = 1.0F / row.scale;
    const auto shorts = [&](int64_t i) {
        const auto rounded = [&](int64_t at) {
            return _mm256_cvtps_epi32(
                _mm256_mul_ps(_mm256_loadu_ps(x + at), _mm256_set1_ps(inverse)));
        };
        return _mm256_add_epi16(_mm256_packs_epi32(rounded(i), rounded(i + 8)),
                                _mm256_set1_epi16(static_cast<int16_t>(row.zero)));
    };
    // Fours of bytes from the first half and from the second half of vectors alternate.
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int64_t i = 0; i < whole; i += 32) {
        const __m256i bytes = _mm256_packus_epi16(shorts(i), shorts(i + 16));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i),
                            _mm256_permutevar8x32_epi32(bytes, in_order));
    }
    for (int64_t i = whole; i < n; ++i) {
        const auto v = static_cast<int32_t>(std::nearbyint(x[i] * inverse)) + row.zero;
        q[i] = static_cast<uint8_t>(std::clamp(v, 0, 255));
    }
    return true;
}

}  // namespace

const Table& avx2() {
    static const Table table{add,
                             multiply_add,
                             multiply,
                             scale_add,
                             relu,
                             gelu_rows_avx2,
                             quick_gelu_avx2,
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
