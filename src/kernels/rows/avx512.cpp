#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/cpu.h"
#include "kernels/rows/avx512_lanes.h"
#include "kernels/rows/implementations.h"

namespace segrid::rows {
namespace {

inline float exp1(float x) { return _mm512_cvtss_f32(exp16(_mm512_set1_ps(x))); }

void add(int64_t n, const float* a, const float* b, float* out) {
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        lanes.store(out + i, _mm512_add_ps(lanes.load(a + i), lanes.load(b + i)));
    });
}

void multiply_add(int64_t n, const float* a, const float* b, float* out) {
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        lanes.store(out + i,
                    _mm512_fmadd_ps(lanes.load(a + i), lanes.load(b + i), lanes.load(out + i)));
    });
}

void multiply(int64_t n, const float* a, float* x) {
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        lanes.store(x + i, _mm512_mul_ps(lanes.load(a + i), lanes.load(x + i)));
    });
}

void scale_add(int64_t n, float a, const float* x, const float* b, float* out) {
    const __m512 factor = _mm512_set1_ps(a);
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        lanes.store(out + i, _mm512_fmadd_ps(factor, lanes.load(x + i), lanes.load(b + i)));
    });
}

void relu(int64_t n, float* x) {
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        lanes.store(x + i, _mm512_max_ps(_mm512_setzero_ps(), lanes.load(x + i)));
    });
}

float dot(int64_t n, const float* a, const float* b) {
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for_vectors(n, [&](int64_t i, auto lanes, int k) {
        sum[k] = _mm512_fmadd_ps(lanes.load(a + i), lanes.load(b + i), sum[k]);
    });
    return _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
}

// The last two passes of a LayerNorm over n values whose sum is known: the variance, then the
// result.
inline float normalise(int64_t n, float total, const float* x, const float* gamma,
                       const float* beta, float eps, float* out) {
    const __m512 mean = _mm512_set1_ps(total / static_cast<float>(n));
    __m512 square[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for_vectors(n, [&](int64_t i, auto lanes, int k) {
        const __m512 d = lanes.keep(_mm512_sub_ps(lanes.load(x + i), mean));
        square[k] = _mm512_fmadd_ps(d, d, square[k]);
    });
    const float variance =
        _mm512_reduce_add_ps(_mm512_add_ps(square[0], square[1])) / static_cast<float>(n);
    const float inverse = 1.0F / __builtin_sqrtf(variance + eps);
    const __m512 factor = _mm512_set1_ps(inverse);
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        const __m512 d = _mm512_mul_ps(_mm512_sub_ps(lanes.load(x + i), mean), factor);
        lanes.store(out + i, _mm512_fmadd_ps(d, lanes.load(gamma + i), lanes.load(beta + i)));
    });
    return inverse;
}

float layer_norm(int64_t n, const float* x, const float* gamma, const float* beta, float eps,
                 float* out) {
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for_vectors(n, [&](int64_t i, auto lanes, int k) {
        sum[k] = _mm512_add_ps(sum[k], lanes.load(x + i));
    });
    return normalise(n, _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1])), x, gamma, beta, eps,
                     out);
}

void residual_norm(int64_t n, const float* x, const float* bias, const float* residual,
                   const float* gamma, const float* beta, float eps, float* out) {
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for_vectors(n, [&](int64_t i, auto lanes, int k) {
        const __m512 v = _mm512_add_ps(_mm512_add_ps(lanes.load(x + i), lanes.load(bias + i)),
                                       lanes.load(residual + i));
        lanes.store(out + i, v);
        sum[k] = _mm512_add_ps(sum[k], v);
    });
    normalise(n, _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1])), out, gamma, beta, eps, out);
}

// Reduces each group of kSize lanes with `op` and puts the result in every lane of the group.
template <int kSize, class Op>
inline __m512 within_groups(__m512 v, const Op& op) {
    if constexpr (kSize >= 2) v = op(v, _mm512_permute_ps(v, 0xB1));
    if constexpr (kSize >= 4) v = op(v, _mm512_permute_ps(v, 0x4E));
    if constexpr (kSize >= 8) v = op(v, _mm512_shuffle_f32x4(v, v, 0xB1));
    if constexpr (kSize >= 16) v = op(v, _mm512_shuffle_f32x4(v, v, 0x4E));
    return v;
}

template <int kSize>
void softmax_small_groups(int64_t count, const float* bias, float* x) {
    for (int64_t i = 0; i < count; i += 16) {
        const __mmask16 m = tail(count - i);
        __m512 v = _mm512_maskz_loadu_ps(m, x + i);
        if (bias != nullptr) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, bias + i));
        const __m512 top =
            within_groups<kSize>(v, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
        const __m512 e = exp16(_mm512_sub_ps(v, top));
        const __m512 sum =
            within_groups<kSize>(e, [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); });
        _mm512_mask_storeu_ps(x + i, m, _mm512_div_ps(e, sum));
    }
}

void softmax_large_group(int64_t n, const float* bias, float* x) {
    const __m512 low = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    __m512 top = low, sum = _mm512_setzero_ps();
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        const __m512 v = bias != nullptr
                             ? _mm512_add_ps(lanes.load(x + i, low), lanes.load(bias + i))
                             : lanes.load(x + i, low);
        lanes.store(x + i, v);
        top = _mm512_max_ps(top, v);
    });
    top = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        const __m512 e = exp16(_mm512_sub_ps(lanes.load(x + i, low), top));
        lanes.store(x + i, e);
        sum = _mm512_add_ps(sum, e);
    });
    const __m512 inverse = _mm512_set1_ps(1.0F / _mm512_reduce_add_ps(sum));
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        lanes.store(x + i, _mm512_mul_ps(lanes.load(x + i), inverse));
    });
}

void softmax_groups(int64_t count, int64_t size, const float* bias, float* x) {
    switch (size) {
        case 1: return softmax_small_groups<1>(count, bias, x);
        case 2: return softmax_small_groups<2>(count, bias, x);
        case 4: return softmax_small_groups<4>(count, bias, x);
        case 8: return softmax_small_groups<8>(count, bias, x);
        case 16: return softmax_small_groups<16>(count, bias, x);
        default:
            for (int64_t g = 0; g < count; g += size)
                softmax_large_group(size, bias != nullptr ? bias + g : nullptr, x + g);
    }
}

// 16 x 16 transpose: row i of the input becomes column i of the output.
inline void transpose16(const __m512 (&in)[16], float* out, int64_t ld, __mmask16 mask,
                        int64_t rows = 16) {
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
        const __m512 a = _mm512_shuffle_f32x4(u[i], u[i + 4], 0x88),
                     b = _mm512_shuffle_f32x4(u[i], u[i + 4], 0xDD);
        const __m512 c = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0x88);
        const __m512 d = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0xDD);
        if (i < rows) _mm512_mask_storeu_ps(out + i * ld, mask, _mm512_shuffle_f32x4(a, c, 0x88));
        if (i + 4 < rows)
            _mm512_mask_storeu_ps(out + (i + 4) * ld, mask, _mm512_shuffle_f32x4(b, d, 0x88));
        if (i + 8 < rows)
            _mm512_mask_storeu_ps(out + (i + 8) * ld, mask, _mm512_shuffle_f32x4(a, c, 0xDD));
        if (i + 12 < rows)
            _mm512_mask_storeu_ps(out + (i + 12) * ld, mask, _mm512_shuffle_f32x4(b, d, 0xDD));
    }
}

void transpose(int64_t rows, int64_t columns, const float* in, int64_t ldi, float* out,
               int64_t ldo) {
    for (int64_t i = 0; i < rows; i += 16) {
        const int64_t left = std::min<int64_t>(16, rows - i);
        for (int64_t j = 0; j < columns; j += 16) {
            const __mmask16 m = tail(columns - j);
            __m512 block[16];
            for (int64_t r = 0; r < 16; ++r)
                block[r] = r < left ? _mm512_maskz_loadu_ps(m, in + (i + r) * ldi + j)
                                    : _mm512_setzero_ps();
            transpose16(block, out + j * ldo + i, ldo, tail(left), columns - j);
        }
    }
}

bool running_softmax_columns(int64_t rows, int64_t columns, Rows<const float> s, float* max,
                             float* sum, float* scale, Rows<float> p_t) {
    bool rescaled = false;
    const __m512 one = _mm512_set1_ps(1.0F);
    for (int64_t c = 0; c < columns; c += 16) {  // columns is a multiple of 16
        const __m512 before = _mm512_loadu_ps(max + c);
        __m512 top = before;
        for (int64_t r = 0; r < rows; ++r) top = _mm512_max_ps(top, _mm512_loadu_ps(s[r] + c));
        const __mmask16 raised = _mm512_cmp_ps_mask(top, before, _CMP_NEQ_UQ);
        const __m512 factor =
            raised ? _mm512_mask_blend_ps(raised, one, exp16(_mm512_sub_ps(before, top))) : one;
        rescaled |= raised != 0;
        _mm512_storeu_ps(scale + c, factor);
        _mm512_storeu_ps(max + c, top);
        __m512 total = _mm512_setzero_ps();
        for (int64_t r = 0; r < rows; r += 16) {
            __m512 e[16];
            const int64_t left = std::min<int64_t>(16, rows - r);
            for (int64_t i = 0; i < 16; ++i) {
                e[i] = i < left ? exp16(_mm512_sub_ps(_mm512_loadu_ps(s[r + i] + c), top))
                                : _mm512_setzero_ps();
                total = _mm512_add_ps(total, e[i]);
            }
            transpose16(e, p_t[c] + r, p_t.stride, tail(left));
        }
        _mm512_storeu_ps(sum + c, _mm512_fmadd_ps(_mm512_loadu_ps(sum + c), factor, total));
    }
    return rescaled;
}

float running_softmax_row(int64_t n, float* s, float& max, float& sum) {
    const __m512 low = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    __m512 tops[2] = {_mm512_set1_ps(max), _mm512_set1_ps(max)};
    for_vectors(n, [&](int64_t i, auto lanes, int k) {
        tops[k] = _mm512_max_ps(tops[k], lanes.load(s + i, low));
    });
    const float highest = _mm512_reduce_max_ps(_mm512_max_ps(tops[0], tops[1]));
    const __m512 top = _mm512_set1_ps(highest);
    __m512 total[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for_vectors(n, [&](int64_t i, auto lanes, int k) {
        const __m512 e = exp16(_mm512_sub_ps(lanes.load(s + i, low), top));
        lanes.store(s + i, e);
        total[k] = _mm512_add_ps(total[k], e);
    });
    const float scale = highest == max ? 1.0F : exp1(max - highest);
    max = highest;
    sum = sum * scale + _mm512_reduce_add_ps(_mm512_add_ps(total[0], total[1]));
    return scale;
}

void scale_row(int64_t n, float factor, float* x) {
    const __m512 f = _mm512_set1_ps(factor);
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        lanes.store(x + i, _mm512_mul_ps(lanes.load(x + i), f));
    });
}

void offset_rows(int64_t rows, int64_t n, const float* offsets, const float* table, float* x) {
    for (int64_t r = 0; r < rows; ++r, x += n) {
        const __m512 o = _mm512_set1_ps(offsets[r]);
        for_vectors(n, [&](int64_t i, auto lanes, int) {
            lanes.store(x + i,
                        _mm512_add_ps(lanes.load(x + i), _mm512_add_ps(o, lanes.load(table + i))));
        });
    }
}

void turn_row(int64_t n, const float* cos, const float* sin, float* x) {
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        const __m512 a = lanes.load(x + i), b = lanes.load(x + n + i);
        const __m512 c = lanes.load(cos + i), s = lanes.load(sin + i);
        lanes.store(x + i, _mm512_fnmadd_ps(b, s, _mm512_mul_ps(a, c)));
        lanes.store(x + n + i, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    });
}

void turn_rows(int64_t rows, int64_t n, const float* cos, const float* sin, const float* x,
               float* out) {
    for (int64_t r = 0; r < rows; ++r, x += 2 * n, out += 2 * n) {
        for_vectors(n, [&](int64_t i, auto lanes, int) {
            const __m512 a = lanes.load(x + i), b = lanes.load(x + n + i);
            const __m512 c = lanes.load(cos + i), s = lanes.load(sin + i);
            lanes.store(out + i, _mm512_fnmadd_ps(b, s, _mm512_mul_ps(a, c)));
            lanes.store(out + n + i, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
        });
    }
}

void blend_row(int64_t n, float a, float* x, float b, const float* y) {
    const __m512 fa = _mm512_set1_ps(a), fb = _mm512_set1_ps(b);
    for_vectors(n, [&](int64_t i, auto lanes, int) {
        lanes.store(x + i,
                    _mm512_fmadd_ps(fb, lanes.load(y + i), _mm512_mul_ps(lanes.load(x + i), fa)));
    });
}

bool quantise_row(int64_t n, const float* x, uint8_t* q, RowScale& row) {
    const __m512 zero = _mm512_setzero_ps();
    __m512 low[2] = {zero, zero}, high[2] = {zero, zero}, poison[2] = {zero, zero};
    for_vectors(n, [&](int64_t i, auto lanes, int k) {
        const __m512 v = lanes.load(x + i);
        low[k] = _mm512_min_ps(low[k], v);
        high[k] = _mm512_max_ps(high[k], v);
        poison[k] = _mm512_fmadd_ps(v, zero, poison[k]);  // becomes NaN if v is NaN or Inf
    });
    const float least = _mm512_reduce_min_ps(_mm512_min_ps(low[0], low[1])),
                most = _mm512_reduce_max_ps(_mm512_max_ps(high[0], high[1]));
    const __mmask16 bad =
        _mm512_cmp_ps_mask(_mm512_add_ps(poison[0], poison[1]), zero, _CMP_NEQ_UQ);
    if (bad != 0 || !std::isfinite(most - least)) return false;
    row = row_scale(least, most);
    const __m512 inverse = _mm512_set1_ps(1.0F / row.scale);
    const __m512i offset = _mm512_set1_epi32(row.zero);
    // 32 values as shorts. Groups of four from the first half and the second half alternate.
    const auto shorts = [&](int64_t i) {
        const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
        const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i + 16), inverse));
        return _mm512_add_epi16(_mm512_packs_epi32(a, b),
                                _mm512_set1_epi16(static_cast<int16_t>(row.zero)));
    };
    const __m512i in_order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        _mm512_storeu_si512(q + i, _mm512_permutexvar_epi32(
                                       in_order, _mm512_packus_epi16(shorts(i), shorts(i + 32))));
    }
    for (; i < n; i += 16) {
        const __mmask16 lanes = tail(n - i);
        const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), inverse);
        const __m512i v = _mm512_max_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(scaled), offset),
                                           _mm512_setzero_si512());
        _mm512_mask_cvtusepi32_storeu_epi8(q + i, lanes, v);
    }
    return true;
}

void dequantise_row(int64_t n, const int32_t* sum, const int32_t* offsets, RowScale row,
                    const float* scales, const float* bias, float* out, bool accumulate) {
    const __m512i zero = _mm512_set1_epi32(row.zero);
    const __m512 scale = _mm512_set1_ps(row.scale);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 lanes = tail(n - i);
        const __m512i offset =
            _mm512_mullo_epi32(_mm512_maskz_loadu_epi32(lanes, offsets + i), zero);
        const __m512 whole =
            _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_maskz_loadu_epi32(lanes, sum + i), offset));
        const __m512 by = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, scales + i), scale);
        __m512 before = accumulate ? _mm512_maskz_loadu_ps(lanes, out + i) : _mm512_setzero_ps();
        if (bias != nullptr) before = _mm512_add_ps(before, _mm512_maskz_loadu_ps(lanes, bias + i));
        _mm512_mask_storeu_ps(out + i, lanes, _mm512_fmadd_ps(whole, by, before));
    }
}

}  // namespace

const Table& avx512() {
    const bool bf16 = cpu_features().avx512_bf16;
    static const Table table{add,
                             multiply_add,
                             multiply,
                             scale_add,
                             relu,
                             gelu_rows_avx512,
                             quick_gelu_avx512,
                             layer_norm,
                             residual_norm,
                             softmax_groups,
                             running_softmax_columns,
                             running_softmax_row,
                             bf16 ? running_power_row_avx512bf16 : plain().running_power_row,
                             scale_row,
                             dot,
                             offset_rows,
                             turn_row,
                             turn_rows,
                             blend_row,
                             transpose,
                             bf16 ? to_bf16_avx512bf16 : plain().to_bf16,
                             bf16 ? pair_bf16_avx512bf16 : plain().pair_bf16,
                             quantise_row,
                             dequantise_row};
    return table;
}

}  // namespace segrid::rows
