// Lanes are places. Three queries and four frames have 12 sums; three registers hold A + D, and one
// the key that they share.
#include <immintrin.h>

#include "kernels/place_scores/implementations.h"
#include "kernels/place_scores/loops.h"

namespace segrid::places {
namespace {

template <int Group>
struct Avx2 {
    static constexpr int kQueries = 3, kFrames = 4, kLanes = 8, kGroup = Group;

    template <int Q, int F>
    static void block(const Block& b) {
        __m256 sums[Q][F];
        const float *across[Q], *down[Q];
#pragma GCC unroll 3
        for (int q = 0; q < Q; ++q) {
            across[q] = b.across + q * b.across_step;
            down[q] = b.down + q * (b.width + 1);
            const auto start = _mm256_add_ps(_mm256_loadu_ps(across[q] + b.width * kGroup),
                                             _mm256_broadcast_ss(down[q] + b.width));
#pragma GCC unroll 4
            for (int f = 0; f < F; ++f) sums[q][f] = start;
        }
        // Copies, because GCC would read the members of b again in every step.
        const int64_t width = b.width, keys_step = b.keys_step;
        const float *keys = b.keys, *ahead = b.ahead;
#pragma GCC unroll 4
        for (int64_t c = 0; c < width; ++c, keys += keys_step) {
            _mm_prefetch(ahead + 16 * c, _MM_HINT_T0);
            __m256 both[Q];
#pragma GCC unroll 3
            for (int q = 0; q < Q; ++q)
                both[q] = _mm256_add_ps(_mm256_loadu_ps(across[q] + c * kGroup),
                                        _mm256_broadcast_ss(down[q] + c));
#pragma GCC unroll 4
            for (int f = 0; f < F; ++f) {
                __m256 u = _mm256_loadu_ps(keys + kGroup * f);
                // Keeps it in a register. GCC would load it again for each query, and a core loads
                // no more than it multiplies.
                asm("" : "+x"(u));
#pragma GCC unroll 3
                for (int q = 0; q < Q; ++q) sums[q][f] = _mm256_fmadd_ps(both[q], u, sums[q][f]);
            }
        }
#pragma GCC unroll 3
        for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 4
            for (int f = 0; f < F; ++f) _mm256_storeu_ps(b.scores[q] + kGroup * f, sums[q][f]);
        }
    }
};

}  // namespace

void avx2(const PlaceKeys& of, const PlaceQueries& queries, const float* packed, Rows<float> scores,
          std::span<const ReadNext> next) {
    if (of.group == 8) over_blocks<Avx2<8>>(of, queries, packed, scores, next);
    else over_blocks<Avx2<16>>(of, queries, packed, scores, next);
}

}  // namespace segrid::places
