// Lanes are places. Two queries and seven frames have 14 sums; the other two registers hold A + D.
#include <immintrin.h>

#include "kernels/place_scores/implementations.h"
#include "kernels/place_scores/loops.h"

namespace segrid::places {
namespace {

struct Avx2 {
    static constexpr int kQueries = 2, kLanes = 8;

    template <int Q, int F>
    static void block(const Block& b) {
        constexpr int kStep = PlaceKeys::kGroup;
        __m256 sums[Q][F];
        const float *across[Q], *down[Q];
#pragma GCC unroll 2
        for (int q = 0; q < Q; ++q) {
            across[q] = b.across + q * b.across_step;
            down[q] = b.down + q * (b.width + 1);
            const auto start = _mm256_add_ps(_mm256_loadu_ps(across[q] + b.width * kStep),
                                             _mm256_broadcast_ss(down[q] + b.width));
#pragma GCC unroll 7
            for (int f = 0; f < F; ++f) sums[q][f] = start;
        }
        const float* keys = b.keys;
        for (int64_t c = 0; c < b.width; ++c, keys += b.keys_step) {
#pragma GCC unroll 2
            for (int q = 0; q < Q; ++q) {
                const __m256 both = _mm256_add_ps(_mm256_loadu_ps(across[q] + c * kStep),
                                                  _mm256_broadcast_ss(down[q] + c));
#pragma GCC unroll 7
                for (int f = 0; f < F; ++f)
                    sums[q][f] =
                        _mm256_fmadd_ps(both, _mm256_loadu_ps(keys + kStep * f), sums[q][f]);
            }
        }
#pragma GCC unroll 2
        for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 7
            for (int f = 0; f < F; ++f) _mm256_storeu_ps(b.scores[q] + kStep * f, sums[q][f]);
        }
    }
};

}  // namespace

void avx2(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
          Rows<float> scores) {
    static_assert(PlaceKeys::kGroup % Avx2::kLanes == 0);
    over_blocks<Avx2>(of, queries, packed, scores);
}

}  // namespace segrid::places
