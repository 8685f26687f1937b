// int8 by VPDPBUSD at 256 bits, which CPUs without AVX-512 have since 2021 (Intel) and 2024 (AMD):
// four products of bytes are summed exactly in 32 bits.
#include <immintrin.h>

#include <algorithm>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/tiles_avx2.h"

namespace segrid::gemm {
namespace {

struct Fours : Integers {
    static __m256i add(__m256i sums, const __m256i (&x)[1], const __m256i (&y)[1]) {
        return _mm256_dpbusd_avx_epi32(sums, x[0], y[0]);
    }
};

void int8(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, Int8Panel b, Rows<float> c,
          bool accumulate, const Dequantisation& by) {
    Strips strips;
    const Rows<const Word> left{reinterpret_cast<const Word*>(a.data), a.stride / 4};
    const auto* panel = reinterpret_cast<const Word*>(b.data);
    dequantised(m, n, c, accumulate, by, [&](int32_t* sums) {
        for (int64_t k0 = 0; k0 < k / 4; k0 += kDepth) {
            const int64_t depth = std::min(kDepth, k / 4 - k0);
            copy_strips(kPanel, depth, {panel + k0 * kPanel, kPanel}, strips);
            strips.times<Fours>(m, n, depth, left.from_column(k0), {sums, kPanel}, k0 > 0,
                                panel + (k0 + depth) * kPanel, depth * kPanel * 4);
        }
    });
}

}  // namespace

const Int8Implementation& int8_avxvnni() {
    static const Int8Implementation table{int8};
    return table;
}

}  // namespace segrid::gemm
