// The instruction that multiplies bytes adds pairs of products in 16 bits and saturates. So bytes
// are widened to 16 bits, whose pairs of products are summed exactly in 32 bits.
#include <immintrin.h>

#include <algorithm>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/tiles_avx2.h"

namespace segrid::gemm {
namespace {

struct Pairs : Integers {
    static __m256i add(__m256i sums, __m256i x, __m256i y) {
        return _mm256_add_epi32(sums, _mm256_madd_epi16(x, y));
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

void int8(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, const int8_t* b, Rows<float> c,
          bool accumulate, const Dequantisation& by) {
    constexpr int64_t kRows = 64;
    alignas(64) Word left[kRows * kDepth];
    Strips strips;
    dequantised(m, n, c, accumulate, by, [&](int32_t* sums) {
        for (int64_t k0 = 0; k0 < k; k0 += 2 * kDepth) {
            const int64_t count = std::min(2 * kDepth, k - k0);
            for (int64_t i = 0; i < m; ++i) widen(count, a[i] + k0, left + i * kDepth);
            widen_strips(count / 2, b + k0 * kPanel, strips);
            strips.times<Pairs>(m, n, count / 2, {left, kDepth}, {sums, kPanel}, k0 > 0);
        }
    });
}

}  // namespace

const Int8Implementation& int8_avx2() {
    static const Int8Implementation table{int8};
    return table;
}

}  // namespace segrid::gemm
