// fp32 and bf16. The numbers of bf16 factors are widened once per call, so the products are those
// of fp32 arithmetic.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/tiles_avx2.h"

namespace segrid::gemm {
namespace {

struct Fp32 {
    static constexpr int kRows = 6, kWords = 1;
    using Vector = __m256;
    static Vector from_words(__m256i v) { return _mm256_castsi256_ps(v); }
    static __m256i to_words(Vector v) { return _mm256_castps_si256(v); }
    static Vector broadcast(const Word* p) {
        return _mm256_broadcast_ss(reinterpret_cast<const float*>(p));
    }
    static Vector add(Vector sums, const Vector (&x)[1], const Vector (&y)[1]) {
        return _mm256_fmadd_ps(x[0], y[0], sums);
    }
};

Rows<const Word> as_words(Rows<const float> a) {
    return {reinterpret_cast<const Word*>(a.data), a.stride};
}
Rows<Word> as_words(Rows<float> c) { return {reinterpret_cast<Word*>(c.data), c.stride}; }

// A few rows, or a few rows of B, are not worth a copy. Strips need none.
bool worth_a_copy(int64_t m, int64_t n, int64_t depth, int64_t stride) {
    if (n == kHalfTile) return false;
    constexpr int64_t kFewRows = 8, kFewWords = 4096;
    return n % kTileColumns != 0 ||
           (m > kFewRows && stride > kTileColumns && depth * stride > kFewWords);
}

void fp32(int64_t m, int64_t n, int64_t k, Rows<const float> a, Rows<const float> b, Rows<float> c,
          bool accumulate, ReadNext next) {
    Strips strips;
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
        const int64_t depth = std::min(kDepth, k - k0);
        const Rows<const Word> left = as_words(a.from_column(k0)), right = as_words(b.from_row(k0));
        const bool add = accumulate || k0 > 0;
        for (int64_t n0 = 0; n0 < n; n0 += kPanel) {
            const int64_t columns = std::min(kPanel, n - n0);
            // The rows that follow in a panel or a strip are read next. After a panel's last rows
            // comes the next panel, and after a strip's whatever the caller says.
            const bool strip = b.stride == kTileColumns, panel = b.stride == kPanel;
            const int64_t rows = strip ? std::min(kDepth, k - k0 - depth) : depth;
            ReadNext ahead = (strip || k0 + n0 == 0) ? next : ReadNext{};
            if (panel || (strip && rows > 0)) ahead = {right[depth], rows * b.stride * 4};
            if (worth_a_copy(m, columns, depth, b.stride)) {
                copy_strips(columns, depth, right.from_column(n0), strips);
                strips.times<Fp32>(m, columns, depth, left, as_words(c.from_column(n0)), add,
                                   ahead.at, ahead.bytes);
            } else {
                Ahead lines = ahead_of<Fp32>(m, columns, ahead.at, ahead.bytes);
                if (columns == kHalfTile) {
                    rows_product<Fp32>(HalfTile{}, m, depth, left, right.from_column(n0),
                                       as_words(c.from_column(n0)), add, lines);
                    continue;
                }
                for (int64_t i = n0; i < n0 + columns; i += kTileColumns)
                    rows_product<Fp32>(WholeTile{}, m, depth, left, right.from_column(i),
                                       as_words(c.from_column(i)), add, lines);
            }
        }
    }
}

void widen(int64_t n, const uint16_t* from, Word* to) {
    int64_t j = 0;
    for (; j + 8 <= n; j += 8) {
        const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j));
        set_words(to + j, _mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
    }
    for (; j < n; ++j) to[j] = static_cast<Word>(static_cast<uint32_t>(from[j]) << 16);
}

// b: pairs of rows, a word for each column.
void widen_strips(int64_t columns, int64_t depth, Rows<const Word> b, Strips& strips) {
    const __m256i high = _mm256_set1_epi32(static_cast<int>(0xFFFF0000U));
    for (int64_t n0 = 0; n0 < columns; n0 += 8) {
        Word* to = strips.at(n0 / kTileColumns) + n0 % kTileColumns;
        const __m256i mask = lanes_of(columns - n0);
        for (int64_t j = 0; j < depth; j += 2, to += 2 * kTileColumns) {
            const __m256i pairs = _mm256_maskload_epi32(b[j / 2] + n0, mask);
            set_words(to, _mm256_slli_epi32(pairs, 16));
            set_words(to + kTileColumns, _mm256_and_si256(pairs, high));
        }
    }
}

void bf16(int64_t m, int64_t n, int64_t k, Rows<const uint16_t> a, Rows<const uint16_t> b,
          Rows<float> c, bool accumulate) {
    constexpr int64_t kRows = 64;
    alignas(64) Word left[kRows * kDepth];
    Strips strips;
    const Rows<const Word> right{reinterpret_cast<const Word*>(b.data), b.stride};
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
        const int64_t depth = std::min(kDepth, k - k0);
        for (int64_t m0 = 0; m0 < m; m0 += kRows) {
            const int64_t rows = std::min(kRows, m - m0);
            for (int64_t i = 0; i < rows; ++i) widen(depth, a[m0 + i] + k0, left + i * kDepth);
            for (int64_t n0 = 0; n0 < n; n0 += kPanel) {
                const int64_t columns = std::min(kPanel, n - n0);
                widen_strips(columns, depth, right.from_row(k0 / 2).from_column(n0), strips);
                strips.times<Fp32>(rows, columns, depth, {left, kDepth},
                                   as_words(c.from_row(m0).from_column(n0)), accumulate || k0 > 0,
                                   b.stride == kPanel ? right[(k0 + depth) / 2] : nullptr,
                                   depth * kPanel * 2);
            }
        }
    }
}

}  // namespace

const Fp32Implementation& fp32_avx2() {
    static const Fp32Implementation table{fp32, kTileColumns, kHalfTile};
    return table;
}

const Bf16Implementation& bf16_avx2() {
    static const Bf16Implementation table{bf16};
    return table;
}

}  // namespace segrid::gemm
