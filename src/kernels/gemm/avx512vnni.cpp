// A register tile of 12 x 32 sums: 2 loads of B and 12 broadcasts of A feed 24 instructions of 64
// products each. Half a panel stays in the first-level cache for all rows. The sums become fp32 in
// their registers.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/panel.h"

namespace segrid::gemm {
namespace {

inline __m512i four_of(const uint8_t* a) {
    int32_t bits;
    std::memcpy(&bits, a, sizeof bits);
    return _mm512_set1_epi32(bits);
}

constexpr int kParts = 2;  // vectors of 16 columns

// R rows times the first `n` columns of half a panel.
template <int R>
void tile(int64_t n, int64_t k, Rows<const uint8_t> a, const int8_t* b, Rows<float> c,
          bool accumulate, const Dequantisation& by) {
    __m512i sums[R][kParts];
    for (int i = 0; i < R; ++i) {
        for (int part = 0; part < kParts; ++part) sums[i][part] = _mm512_setzero_si512();
    }
    for (int i = 0; i < R; ++i) {  // prefetches the memory that the sums are written to
        for (int part = 0; part < kParts; ++part) _mm_prefetch(c[i] + 16 * part, _MM_HINT_T0);
    }
    for (int64_t j = 0; j < k; j += 4) {
        __m512i columns[kParts];
        for (int part = 0; part < kParts; ++part)
            columns[part] = _mm512_load_si512(b + j * kPanel + 64 * part);
        for (int i = 0; i < R; ++i) {
            const __m512i x = four_of(a[i] + j);
            for (int part = 0; part < kParts; ++part)
                sums[i][part] = _mm512_dpbusd_epi32(sums[i][part], x, columns[part]);
        }
    }
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part) {  // unrolled, so that the sums stay in registers
        const int64_t left = n - 16 * part;
        const auto lanes = static_cast<__mmask16>(left >= 16 ? 0xFFFF
                                                  : left > 0 ? (1U << left) - 1U
                                                             : 0U);
        const __m512i offsets = _mm512_maskz_loadu_epi32(lanes, by.offsets + 16 * part);
        const __m512 scales = _mm512_maskz_loadu_ps(lanes, by.scales + 16 * part);
        const __m512 bias = by.bias != nullptr ? _mm512_maskz_loadu_ps(lanes, by.bias + 16 * part)
                                               : _mm512_setzero_ps();
#pragma GCC unroll 12
        for (int i = 0; i < R; ++i) {
            const __m512i whole = _mm512_sub_epi32(
                sums[i][part], _mm512_mullo_epi32(offsets, _mm512_set1_epi32(by.rows[i].zero)));
            const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(by.rows[i].scale));
            float* out = c[i] + 16 * part;
            const __m512 before =
                accumulate ? _mm512_add_ps(bias, _mm512_maskz_loadu_ps(lanes, out)) : bias;
            _mm512_mask_storeu_ps(out, lanes,
                                  _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scale, before));
        }
    }
}

void half_panel(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, const int8_t* b,
                Rows<float> c, bool accumulate, const Dequantisation& by) {
    const auto rows = [&]<int R>(int64_t i) {
        tile<R>(n, k, a.from_row(i), b, c.from_row(i), accumulate,
                {by.rows + i, by.offsets, by.scales, by.bias});
    };
    int64_t i = 0;
    for (; i + 12 <= m && m - i != 16; i += 12) rows.template operator()<12>(i);
    // 64 rows are four times 12 and twice 8.
    for (; i + 8 <= m; i += 8) rows.template operator()<8>(i);
    for (; i + 4 <= m; i += 4) rows.template operator()<4>(i);
    for (; i < m; ++i) rows.template operator()<1>(i);
}

void product(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, Int8Panel b, Rows<float> c,
             bool accumulate, const Dequantisation& by) {
    for (int64_t n0 = 0; n0 < n; n0 += 16 * kParts) {
        const Dequantisation part{by.rows, by.offsets + n0, by.scales + n0,
                                  by.bias != nullptr ? by.bias + n0 : nullptr};
        half_panel(m, std::min<int64_t>(16 * kParts, n - n0), k, a, b.data + 4 * n0,
                   c.from_column(n0), accumulate, part);
    }
}

}  // namespace

const Int8Implementation& int8_avx512vnni() {
    static const Int8Implementation table{product};
    return table;
}

}  // namespace segrid::gemm
