// The instruction that multiplies bytes adds pairs of products in 16 bits and saturates. Where the
// values of a panel are so small that two pairs together fit (Int8Panel::narrow), it is used. Else
// bytes are widened to 16 bits, whose pairs of products are summed exactly in 32 bits.
#include <immintrin.h>

#include <algorithm>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/tiles_avx2.h"

namespace segrid::gemm {
namespace {

struct Fours : Integers {
    static constexpr int kRows = 4, kWords = 2;
    static __m256i add(__m256i sums, const __m256i (&x)[2], const __m256i (&y)[2]) {
        return wider(sums, _mm256_add_epi16(_mm256_maddubs_epi16(x[0], y[0]),
                                            _mm256_maddubs_epi16(x[1], y[1])));
    }
    static __m256i add(__m256i sums, const __m256i (&x)[1], const __m256i (&y)[1]) {
        return wider(sums, _mm256_maddubs_epi16(x[0], y[0]));
    }
    // Adds pairs of 16 bits to sums of 32 bits.
    static __m256i wider(__m256i sums, __m256i pairs) {
        return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
};

struct Pairs : Integers {
    static __m256i add(__m256i sums, const __m256i (&x)[1], const __m256i (&y)[1]) {
        __m256i next = _mm256_add_epi32(sums, _mm256_madd_epi16(x[0], y[0]));
        // Keeps GCC from making many products first, for which there are too few registers.
        asm("" : "+x"(next));
        return next;
    }
};

void widen(int64_t n, const uint8_t* from, Word* to) {  // n: a multiple of 4
    auto* pairs = reinterpret_cast<uint16_t*>(to);
    int64_t j = 0;
    for (; j + 16 <= n; j += 16) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(pairs + j), _mm256_cvtepu8_epi16(bytes));
    }
    for (; j < n; ++j) pairs[j] = from[j];
}

// b: fours of rows of a panel; each becomes two rows of pairs.
void widen_strips(int64_t depth, const int8_t* b, Strips& strips) {
    for (int64_t j = 0; j < depth; j += 2, b += 4 * kPanel) {
        for (int64_t n0 = 0; n0 < kPanel; n0 += 8) {
            const __m256i fours = words(reinterpret_cast<const Word*>(b) + n0);
            const __m256i low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(fours)),
                          high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(fours, 1));
            // The lanes of shuffle_ps hold columns 0 1 4 5 and 2 3 6 7.
            const auto part = [&]<int kWords>() {
                const __m256 mixed =
                    _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), kWords);
                return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xD8);
            };
            Word* to = strips.at(n0 / kTileColumns) + j * kTileColumns + n0 % kTileColumns;
            set_words(to, part.operator()<0x88>());
            set_words(to + kTileColumns, part.operator()<0xDD>());
        }
    }
}

void fours(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, const int8_t* b, Rows<Word> sums,
           Strips& strips) {
    const Rows<const Word> left{reinterpret_cast<const Word*>(a.data), a.stride / 4};
    const auto* panel = reinterpret_cast<const Word*>(b);
    for (int64_t k0 = 0; k0 < k / 4; k0 += kDepth) {
        const int64_t depth = std::min(kDepth, k / 4 - k0);
        copy_strips(kPanel, depth, {panel + k0 * kPanel, kPanel}, strips);
        strips.times<Fours>(m, n, depth, left.from_column(k0), sums, k0 > 0,
                            panel + (k0 + depth) * kPanel, depth * kPanel * 4);
    }
}

void pairs(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, const int8_t* b, Rows<Word> sums,
           Strips& strips) {
    constexpr int64_t kRows = 64;
    alignas(64) Word left[kRows * kDepth];
    for (int64_t k0 = 0; k0 < k; k0 += 2 * kDepth) {
        const int64_t count = std::min(2 * kDepth, k - k0);
        for (int64_t i = 0; i < m; ++i) widen(count, a[i] + k0, left + i * kDepth);
        widen_strips(count / 2, b + k0 * kPanel, strips);
        strips.times<Pairs>(m, n, count / 2, {left, kDepth}, sums, k0 > 0,
                            b + (k0 + count) * kPanel, count * kPanel);
    }
}

void int8(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, Int8Panel b, Rows<float> c,
          bool accumulate, const Dequantisation& by) {
    Strips strips;
    dequantised(m, n, c, accumulate, by, [&](int32_t* sums) {
        (b.narrow ? fours : pairs)(m, n, k, a, b.data, {sums, kPanel}, strips);
    });
}

}  // namespace

const Int8Implementation& int8_avx2() {
    static const Int8Implementation table{int8};
    return table;
}

}  // namespace segrid::gemm
