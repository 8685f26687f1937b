// Lanes are places. Three queries and seven frames have 21 sums, and share the seven keys.
#include <immintrin.h>

#include "kernels/place_scores/implementations.h"
#include "kernels/place_scores/loops.h"

namespace segrid::places {
namespace {

struct Avx512 {
    static constexpr int kQueries = 3, kFrames = 7, kLanes = 16, kGroup = 16;

    template <int Q, int F>
    static void block(const Block& b) {
        __m512 sums[Q][F];
        const float *across[Q], *down[Q];
#pragma GCC unroll 3
        for (int q = 0; q < Q; ++q) {
            across[q] = b.across + q * b.across_step;
            down[q] = b.down + q * (b.width + 1);
            const auto start = _mm512_add_ps(_mm512_loadu_ps(across[q] + b.width * 16),
                                             _mm512_set1_ps(down[q][b.width]));
#pragma GCC unroll 7
            for (int f = 0; f < F; ++f) sums[q][f] = start;
        }
        const float* keys = b.keys;
        for (int64_t c = 0; c < b.width; ++c, keys += b.keys_step) {
            __m512 u[F];
#pragma GCC unroll 7
            for (int f = 0; f < F; ++f) {
                u[f] = _mm512_loadu_ps(keys + 16 * f);
                // Keeps it in a register. GCC would load it again for each query, and a core loads
                // no more than it multiplies.
                asm("" : "+v"(u[f]));
            }
#pragma GCC unroll 3
            for (int q = 0; q < Q; ++q) {
                const __m512 both =
                    _mm512_add_ps(_mm512_loadu_ps(across[q] + c * 16), _mm512_set1_ps(down[q][c]));
#pragma GCC unroll 7
                for (int f = 0; f < F; ++f) sums[q][f] = _mm512_fmadd_ps(both, u[f], sums[q][f]);
            }
        }
#pragma GCC unroll 3
        for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 7
            for (int f = 0; f < F; ++f) _mm512_storeu_ps(b.scores[q] + 16 * f, sums[q][f]);
        }
    }
};

}  // namespace

void avx512(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
            Rows<float> scores, std::span<const ReadNext> next) {
    over_blocks<Avx512>(of, queries, packed, scores, next);
}

}  // namespace segrid::places
