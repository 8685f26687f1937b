#include <immintrin.h>

#include <algorithm>
#include <limits>

#include "kernels/rows/implementations.h"

namespace segrid::rows {
namespace {

inline __mmask16 tail(int64_t left) {
    return left >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << left) - 1U);
}

// exp to 1 ulp: 2^n times a polynomial in the remainder (Cephes coefficients); scalef handles under- and overflow.
inline __m512 exp16(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-105.0F), x);  // below that the result is 0; in this order NaN stays NaN
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504F)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375F), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4F), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4F);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1F));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0F)));
    return _mm512_scalef_ps(p, n);
}

inline float exp1(float x) { return _mm512_cvtss_f32(exp16(_mm512_set1_ps(x))); }

// erf to 1 ulp on both sides of 0.93 (minimax polynomials), blended.
inline __m512 erf16(__m512 a) {
    const __m512 t = _mm512_min_ps(_mm512_set1_ps(10.0F), _mm512_abs_ps(a)), s = _mm512_mul_ps(t, t);
    __m512 far = _mm512_fmadd_ps(_mm512_set1_ps(-1.72853470e-5F), t, _mm512_set1_ps(3.83197126e-4F));
    const __m512 u = _mm512_fmadd_ps(_mm512_set1_ps(-3.88396438e-3F), t, _mm512_set1_ps(2.42546219e-2F));
    far = _mm512_fmadd_ps(far, s, u);
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(-1.06777877e-1F));
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(-6.34846687e-1F));
    far = _mm512_fmadd_ps(far, t, _mm512_set1_ps(-1.28717512e-1F));
    far = _mm512_fmadd_ps(far, t, _mm512_sub_ps(_mm512_setzero_ps(), t));
    far = _mm512_sub_ps(_mm512_set1_ps(1.0F), exp16(far));
    const __m512 sign = _mm512_and_ps(a, _mm512_set1_ps(-0.0F));
    far = _mm512_or_ps(far, sign);
    __m512 near = _mm512_set1_ps(-5.96761703e-4F);
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(4.99119423e-3F));
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(-2.67681349e-2F));
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(1.12819925e-1F));
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(-3.76125336e-1F));
    near = _mm512_fmadd_ps(near, s, _mm512_set1_ps(1.28379166e-1F));
    near = _mm512_fmadd_ps(near, a, a);
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(t, _mm512_set1_ps(0.927734375F), _CMP_GT_OQ), near, far);
}

void add(int64_t n, const float* a, const float* b, float* out) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        _mm512_mask_storeu_ps(out + i, m, _mm512_add_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i)));
    }
}

void relu(int64_t n, float* x) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        _mm512_mask_storeu_ps(x + i, m, _mm512_max_ps(_mm512_maskz_loadu_ps(m, x + i), _mm512_setzero_ps()));
    }
}

void gelu(int64_t n, float* x) {
    const __m512 half = _mm512_set1_ps(0.5F), one = _mm512_set1_ps(1.0F), r = _mm512_set1_ps(0.70710678F);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(m, x + i);
        const __m512 phi = _mm512_add_ps(one, erf16(_mm512_mul_ps(v, r)));
        _mm512_mask_storeu_ps(x + i, m, _mm512_mul_ps(_mm512_mul_ps(half, v), phi));
    }
}

void layer_norm(int64_t n, const float* x, const float* gamma, const float* beta, float eps, float* out) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(tail(n - i), x + i));
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / static_cast<float>(n));
    __m512 square = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 d = _mm512_maskz_sub_ps(m, _mm512_maskz_loadu_ps(m, x + i), mean);
        square = _mm512_fmadd_ps(d, d, square);
    }
    const float variance = _mm512_reduce_add_ps(square) / static_cast<float>(n);
    const __m512 inverse = _mm512_set1_ps(1.0F / __builtin_sqrtf(variance + eps));
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), mean), inverse);
        _mm512_mask_storeu_ps(
            out + i, m, _mm512_fmadd_ps(d, _mm512_maskz_loadu_ps(m, gamma + i), _mm512_maskz_loadu_ps(m, beta + i)));
    }
}

void softmax_strided(int64_t groups, int64_t lanes, float* x) {
    for (int64_t l = 0; l < lanes; l += 16) {
        const __mmask16 m = tail(lanes - l);
        float* column = x + l;
        __m512 max = _mm512_maskz_loadu_ps(m, column);
        for (int64_t g = 1; g < groups; ++g) max = _mm512_max_ps(max, _mm512_maskz_loadu_ps(m, column + g * lanes));
        __m512 sum = _mm512_setzero_ps();
        for (int64_t g = 0; g < groups; ++g) {
            const __m512 e = exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, column + g * lanes), max));
            _mm512_mask_storeu_ps(column + g * lanes, m, e);
            sum = _mm512_add_ps(sum, e);
        }
        const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1.0F), sum);
        for (int64_t g = 0; g < groups; ++g) {
            float* p = column + g * lanes;
            _mm512_mask_storeu_ps(p, m, _mm512_mul_ps(_mm512_maskz_loadu_ps(m, p), inverse));
        }
    }
}

// 16 x 16 transpose: row i of the input becomes column i of the output.
inline void transpose16(const __m512 (&in)[16], float* out, int64_t ld, __mmask16 mask) {
    __m512 t[16], u[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(in[i], in[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(in[i], in[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        const auto pd = [](__m512 v) { return _mm512_castps_pd(v); };
        u[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(t[i]), pd(t[i + 2])));
        u[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(t[i]), pd(t[i + 2])));
        u[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(t[i + 1]), pd(t[i + 3])));
        u[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(t[i + 1]), pd(t[i + 3])));
    }
    for (int i = 0; i < 4; ++i) {
        const __m512 a = _mm512_shuffle_f32x4(u[i], u[i + 4], 0x88), b = _mm512_shuffle_f32x4(u[i], u[i + 4], 0xDD);
        const __m512 c = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0x88);
        const __m512 d = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0xDD);
        _mm512_mask_storeu_ps(out + i * ld, mask, _mm512_shuffle_f32x4(a, c, 0x88));
        _mm512_mask_storeu_ps(out + (i + 4) * ld, mask, _mm512_shuffle_f32x4(b, d, 0x88));
        _mm512_mask_storeu_ps(out + (i + 8) * ld, mask, _mm512_shuffle_f32x4(a, c, 0xDD));
        _mm512_mask_storeu_ps(out + (i + 12) * ld, mask, _mm512_shuffle_f32x4(b, d, 0xDD));
    }
}

bool running_softmax_columns(int64_t rows, int64_t columns, const float* s, int64_t lds, float* max, float* sum, float* scale,
                             float* p_t, int64_t ldp) {
    bool rescaled = false;
    const __m512 one = _mm512_set1_ps(1.0F);
    for (int64_t c = 0; c < columns; c += 16) {  // columns is a multiple of 16
        const __m512 before = _mm512_loadu_ps(max + c);
        __m512 top = before;
        for (int64_t r = 0; r < rows; ++r) top = _mm512_max_ps(top, _mm512_loadu_ps(s + r * lds + c));
        const __mmask16 raised = _mm512_cmp_ps_mask(top, before, _CMP_NEQ_UQ);
        const __m512 factor = raised ? _mm512_mask_blend_ps(raised, one, exp16(_mm512_sub_ps(before, top))) : one;
        rescaled |= raised != 0;
        _mm512_storeu_ps(scale + c, factor);
        _mm512_storeu_ps(max + c, top);
        __m512 total = _mm512_setzero_ps();
        for (int64_t r = 0; r < rows; r += 16) {
            __m512 e[16];
            const int64_t left = std::min<int64_t>(16, rows - r);
            for (int64_t i = 0; i < 16; ++i) {
                e[i] = i < left ? exp16(_mm512_sub_ps(_mm512_loadu_ps(s + (r + i) * lds + c), top)) : _mm512_setzero_ps();
                total = _mm512_add_ps(total, e[i]);
            }
            transpose16(e, p_t + c * ldp + r, ldp, tail(left));
        }
        _mm512_storeu_ps(sum + c, _mm512_fmadd_ps(_mm512_loadu_ps(sum + c), factor, total));
    }
    return rescaled;
}

float running_softmax_row(int64_t n, float* s, float& max, float& sum) {
    const __m512 low = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    __m512 top = _mm512_set1_ps(max);
    for (int64_t i = 0; i < n; i += 16) top = _mm512_max_ps(top, _mm512_mask_loadu_ps(low, tail(n - i), s + i));
    const float highest = _mm512_reduce_max_ps(top);
    top = _mm512_set1_ps(highest);
    __m512 total = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 e = exp16(_mm512_sub_ps(_mm512_mask_loadu_ps(low, m, s + i), top));
        _mm512_mask_storeu_ps(s + i, m, e);
        total = _mm512_add_ps(total, e);
    }
    const float scale = highest == max ? 1.0F : exp1(max - highest);
    max = highest;
    sum = sum * scale + _mm512_reduce_add_ps(total);
    return scale;
}

void scale_row(int64_t n, float factor, float* x) {
    const __m512 f = _mm512_set1_ps(factor);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        _mm512_mask_storeu_ps(x + i, m, _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), f));
    }
}

void scale_add_row(int64_t n, float factor, float offset, const float* table, float* x) {
    const __m512 f = _mm512_set1_ps(factor), o = _mm512_set1_ps(offset);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 b = _mm512_add_ps(o, _mm512_maskz_loadu_ps(m, table + i));
        _mm512_mask_storeu_ps(x + i, m, _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, x + i), f, b));
    }
}

}  // namespace

const Table& avx512() {
    static const Table table{add, relu, gelu, layer_norm, softmax_strided, running_softmax_columns, running_softmax_row,
                             scale_row, scale_add_row};
    return table;
}

}  // namespace segrid::rows
