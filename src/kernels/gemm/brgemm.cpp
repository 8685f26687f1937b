#include <ATen/native/CPUBlas.h>

#include <algorithm>

#include "kernels/gemm/implementations.h"

namespace segrid::gemm {

void matmul_brgemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                   int64_t ldc, bool accumulate) {
    // Tiles that keep B's part in the first-level cache's reach; the shapes repeat, so the generated code is cached.
    constexpr int64_t kRows = 64, kColumns = 64, kDepth = 1024;
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
        const int64_t kc = std::min(kDepth, k - k0);
        for (int64_t n0 = 0; n0 < n; n0 += kColumns) {
            const int64_t nc = std::min(kColumns, n - n0);
            for (int64_t m0 = 0; m0 < m; m0 += kRows) {
                const int64_t mc = std::min(kRows, m - m0);
                at::native::cpublas::brgemm(mc, nc, kc, lda, ldb, ldc, accumulate || k0 > 0, a + m0 * lda + k0,
                                            b + k0 * ldb + n0, c + m0 * ldc + n0);
            }
        }
    }
}

}  // namespace segrid::gemm
