// For CPUs without AVX-512: a register tile of 6 x 16 sums. bf16 is widened in registers, so
// products are the same in fp32 arithmetic. int8 is widened to 16 bits, because the instruction for
// bytes saturates.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/panel.h"

namespace segrid::gemm {
namespace {

constexpr int kRows = 6, kColumns = 16;

// A mask of the first `lanes` of 8 lanes.
inline __m256i lanes_of(int64_t lanes) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(std::clamp<int64_t>(lanes, 0, 8))),
                              index);
}

// Access to a tile's columns, which are all 16 (WholeTile) or fewer (PartTile).
struct WholeTile {
    static __m256 load(const float* p, int) { return _mm256_loadu_ps(p); }
    static __m256i load(const uint16_t* p, int) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    static void store(float* p, int, __m256 v) { _mm256_storeu_ps(p, v); }
};
struct PartTile {
    __m256i mask[2];
    __m256 load(const float* p, int half) const { return _mm256_maskload_ps(p, mask[half]); }
    __m256i load(const uint16_t* p, int half) const {
        return _mm256_maskload_epi32(reinterpret_cast<const int*>(p), mask[half]);
    }
    void store(float* p, int half, __m256 v) const { _mm256_maskstore_ps(p, mask[half], v); }
};

struct Fp32 {
    using Number = float;
    static constexpr int64_t kStep = 1;  // rows of B per step
    // sums[i] += a[i][k] b[k]
    template <int R, class Tile>
    static void step(const Tile& tile, const float* a, int64_t lda, const float* b,
                     __m256 (&sums)[R][2]) {
        const __m256 b0 = tile.load(b, 0), b1 = tile.load(b + 8, 1);
        for (int i = 0; i < R; ++i) {
            const __m256 x = _mm256_broadcast_ss(a + i * lda);
            sums[i][0] = _mm256_fmadd_ps(x, b0, sums[i][0]);
            sums[i][1] = _mm256_fmadd_ps(x, b1, sums[i][1]);
        }
    }
};

struct Bf16 {
    using Number = uint16_t;
    static constexpr int64_t kStep = 2;
    template <int R, class Tile>
    static void step(const Tile& tile, const uint16_t* a, int64_t lda, const uint16_t* b,
                     __m256 (&sums)[R][2]) {
        const __m256i high = _mm256_set1_epi32(static_cast<int>(0xFFFF0000U));
        __m256 even[2], odd[2];
        for (int half = 0; half < 2; ++half) {
            const __m256i pairs = tile.load(b + 16 * half, half);
            even[half] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
            odd[half] = _mm256_castsi256_ps(_mm256_and_si256(pairs, high));
        }
        for (int i = 0; i < R; ++i) {
            const __m256i pair =
                _mm256_set1_epi32(static_cast<int>(a[i * lda]) |
                                  static_cast<int>(static_cast<uint32_t>(a[i * lda + 1]) << 16));
            const __m256 x0 = _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)),
                         x1 = _mm256_castsi256_ps(_mm256_and_si256(pair, high));
            for (int half = 0; half < 2; ++half) {
                sums[i][half] =
                    _mm256_fmadd_ps(x1, odd[half], _mm256_fmadd_ps(x0, even[half], sums[i][half]));
            }
        }
    }
};

// Rows of either factor.
template <class Form>
using FactorRows = Rows<const typename Form::Number>;

template <class Form, int R, class Tile>
void tile_product(const Tile& tile, int64_t k, FactorRows<Form> a, FactorRows<Form> b,
                  Rows<float> c, bool accumulate) {
    __m256 sums[R][2];
    for (int i = 0; i < R; ++i) {
        for (int half = 0; half < 2; ++half)
            sums[i][half] = accumulate ? tile.load(c[i] + 8 * half, half) : _mm256_setzero_ps();
    }
    for (int64_t j = 0; j < k; j += Form::kStep) Form::step(tile, a.data + j, a.stride, b[j], sums);
    for (int i = 0; i < R; ++i) {
        for (int half = 0; half < 2; ++half) tile.store(c[i] + 8 * half, half, sums[i][half]);
    }
}

template <class Form, class Tile>
void rows_product(const Tile& tile, int64_t m, int64_t k, FactorRows<Form> a, FactorRows<Form> b,
                  Rows<float> c, bool accumulate) {
    int64_t i = 0;
    for (; i + kRows <= m; i += kRows)
        tile_product<Form, kRows>(tile, k, a.from_row(i), b, c.from_row(i), accumulate);
    a = a.from_row(i);
    c = c.from_row(i);
    switch (m - i) {
        case 1: return tile_product<Form, 1>(tile, k, a, b, c, accumulate);
        case 2: return tile_product<Form, 2>(tile, k, a, b, c, accumulate);
        case 3: return tile_product<Form, 3>(tile, k, a, b, c, accumulate);
        case 4: return tile_product<Form, 4>(tile, k, a, b, c, accumulate);
        case 5: return tile_product<Form, 5>(tile, k, a, b, c, accumulate);
        default: return;
    }
}

template <class Form>
void product(int64_t m, int64_t n, int64_t k, FactorRows<Form> a, FactorRows<Form> b, Rows<float> c,
             bool accumulate) {
    // Rows of B at a time, so that 16 of its columns stay in the first-level cache for all rows of
    // A.
    constexpr int64_t kDepth = 256;
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
        const int64_t depth = std::min(kDepth, k - k0);
        for (int64_t n0 = 0; n0 < n; n0 += kColumns) {
            const FactorRows<Form> from = b.from_row(k0).from_column(n0 * Form::kStep);
            const bool add = accumulate || k0 > 0;
            if (n - n0 >= kColumns) {
                rows_product<Form>(WholeTile{}, m, depth, a.from_column(k0), from,
                                   c.from_column(n0), add);
            } else {
                rows_product<Form>(PartTile{{lanes_of(n - n0), lanes_of(n - n0 - 8)}}, m, depth,
                                   a.from_column(k0), from, c.from_column(n0), add);
            }
        }
    }
}

// Four bytes of a row, widened to 16 bits and repeated four times.
inline __m256i four_of(const uint8_t* a) {
    int32_t bits;
    std::memcpy(&bits, a, sizeof bits);
    return _mm256_cvtepu8_epi16(_mm_set1_epi32(bits));
}

// R rows times 8 columns of a panel, as exact sums of products of 16-bit pairs. Each column's sum
// stays split over two adjacent lanes until the end.
template <int R>
void int8_rows(int64_t k, const uint8_t* a, int64_t lda, const int8_t* b, int32_t* sum) {
    __m256i sums[R][2];
    for (int i = 0; i < R; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_si256();
    for (int64_t j = 0; j < k; j += 4) {
        const __m256i fours = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + j * kPanel));
        const __m256i low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(fours)),
                      high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(fours, 1));
        for (int i = 0; i < R; ++i) {
            const __m256i x = four_of(a + i * lda + j);
            sums[i][0] = _mm256_add_epi32(sums[i][0], _mm256_madd_epi16(x, low));
            sums[i][1] = _mm256_add_epi32(sums[i][1], _mm256_madd_epi16(x, high));
        }
    }
    for (int i = 0; i < R; ++i) {
        const __m256i pairs =
            _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums[i][0], sums[i][1]), 0xD8);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(sum + i * 64), pairs);
    }
}

void int8(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, const int8_t* b, Rows<float> c,
          bool accumulate, const Dequantisation& by) {
    dequantised(m, n, c, accumulate, by, [&](int32_t* sums) {
        for (int64_t n0 = 0; n0 < n; n0 += 8) {
            int64_t i = 0;
            for (; i + 4 <= m; i += 4)
                int8_rows<4>(k, a[i], a.stride, b + 4 * n0, sums + i * 64 + n0);
            for (; i < m; ++i) int8_rows<1>(k, a[i], a.stride, b + 4 * n0, sums + i * 64 + n0);
        }
    });
}

}  // namespace

const Fp32Implementation& fp32_avx2() {
    static const Fp32Implementation table{product<Fp32>};
    return table;
}

const Bf16Implementation& bf16_avx2() {
    static const Bf16Implementation table{product<Bf16>};
    return table;
}

const Int8Implementation& int8_avx2() {
    static const Int8Implementation table{int8};
    return table;
}

}  // namespace segrid::gemm
