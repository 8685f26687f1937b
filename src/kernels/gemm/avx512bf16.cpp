// A register tile of 6 x 64 sums: 4 loads of B and 6 broadcasts of A feed 24 instructions of 32
// products each.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/panel.h"

namespace segrid::gemm {
namespace {

inline __m512bh pair_of(const uint16_t* a) {
    int32_t bits;
    std::memcpy(&bits, a, sizeof bits);
    return (__m512bh)_mm512_set1_epi32(bits);
}

// V vectors of 16 columns. The last vector may be partial, unless kWhole.
template <int V, bool kWhole>
struct Columns {
    __mmask16 last;
    bool masked(int part) const { return !kWhole && part + 1 == V; }
    __m512 load(const float* p, int part) const {
        return masked(part) ? _mm512_maskz_loadu_ps(last, p + 16 * part)
                            : _mm512_loadu_ps(p + 16 * part);
    }
    __m512bh pairs(const uint16_t* p, int part) const {
        return (__m512bh)(masked(part) ? _mm512_maskz_loadu_epi32(last, p + 32 * part)
                                       : _mm512_loadu_si512(p + 32 * part));
    }
    void store(float* p, int part, __m512 v) const {
        if (masked(part)) _mm512_mask_storeu_ps(p + 16 * part, last, v);
        else _mm512_storeu_ps(p + 16 * part, v);
    }
};

// Multiplies R rows; sums begin with begin(row, part).
template <int R, int V, bool kWhole, class Begin>
void tile(Columns<V, kWhole> columns, int64_t k, Rows<const uint16_t> a, Rows<const uint16_t> b,
          Rows<float> c, const Begin& begin) {
    __m512 sums[R][V];
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
        for (int part = 0; part < V; ++part) sums[i][part] = begin(i, part);
    }
    for (int64_t j = 0; j < k; j += 2) {
        __m512bh y[V];
#pragma GCC unroll 4
        for (int part = 0; part < V; ++part) y[part] = columns.pairs(b[j], part);
#pragma GCC unroll 12
        for (int i = 0; i < R; ++i) {
            const __m512bh x = pair_of(a[i] + j);
#pragma GCC unroll 4
            for (int part = 0; part < V; ++part)
                sums[i][part] = _mm512_dpbf16_ps(sums[i][part], x, y[part]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
        for (int part = 0; part < V; ++part) columns.store(c[i], part, sums[i][part]);
    }
}

template <int V, bool kWhole, class Begin>
void over_rows(Columns<V, kWhole> columns, int64_t m, int64_t k, Rows<const uint16_t> a,
               Rows<const uint16_t> b, Rows<float> c, const Begin& begin) {
    const auto rows = [&]<int R>(int64_t i) {
        tile<R>(columns, k, a.from_row(i), b, c.from_row(i),
                [&](int row, int part) { return begin(i + row, part); });
    };
    int64_t i = 0;
    if constexpr (V <= 2) {  // with fewer sums, each instruction would wait for the one before
        for (; i + 12 <= m; i += 12) rows.template operator()<12>(i);
    }
    for (; i + 6 <= m; i += 6) rows.template operator()<6>(i);
    for (; i + 4 <= m; i += 4) rows.template operator()<4>(i);
    for (; i + 2 <= m; i += 2) rows.template operator()<2>(i);
    for (; i < m; ++i) rows.template operator()<1>(i);
}

template <int V, bool kWhole>
void panel(__mmask16 last, int64_t m, int64_t k, Rows<const uint16_t> a, Rows<const uint16_t> b,
           Rows<float> c, bool accumulate) {
    const Columns<V, kWhole> columns{last};
    over_rows(columns, m, k, a, b, c, [&](int64_t i, int part) {
        return accumulate ? columns.load(c[i], part) : _mm512_setzero_ps();
    });
}

void panel_from(int64_t m, int64_t k, Rows<const uint16_t> a, const uint16_t* b, Rows<float> c,
                const Start& start) {
    static_assert(kPanel == 64);
    over_rows(Columns<4, true>{}, m, k, a, Rows{b, kPanel}, c, [&](int64_t i, int part) {
        const __m512 table = _mm512_loadu_ps(start.table + i * start.table_step + 16 * part);
        return _mm512_add_ps(table, _mm512_set1_ps(start.offsets[i * start.offset_step]));
    });
}

void product(int64_t m, int64_t n, int64_t k, Rows<const uint16_t> a, Rows<const uint16_t> b,
             Rows<float> c, bool accumulate) {
    static constexpr decltype(&panel<4, true>) panels[] = {panel<1, false>, panel<2, false>,
                                                           panel<3, false>, panel<4, false>};
    for (int64_t n0 = 0; n0 < n; n0 += 64) {
        const int64_t columns = std::min<int64_t>(64, n - n0), vectors = (columns + 15) / 16;
        const auto last = static_cast<__mmask16>(0xFFFFU >> (16 * vectors - columns));
        (columns == 64 ? panel<4, true> : panels[vectors - 1])(last, m, k, a, b.from_column(2 * n0),
                                                               c.from_column(n0), accumulate);
    }
}

}  // namespace

const Bf16Implementation& bf16_avx512bf16() {
    static const Bf16Implementation table{.product = product, .panel_from = panel_from};
    return table;
}

}  // namespace segrid::gemm
