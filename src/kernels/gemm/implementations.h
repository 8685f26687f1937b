// The implementations that gemm/op.cpp chooses from. All compute C = A B (+ C).
#pragma once

#include <cstdint>

namespace segrid::gemm {

using Matmul = void (*)(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                        int64_t ldc, bool accumulate);

void matmul_plain(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                  int64_t ldc, bool accumulate);
// LibTorch's brgemm: AVX-512 (and AMX where it applies); ~90 % of a core's peak where MKL on AMD reaches a third.
void matmul_brgemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                   int64_t ldc, bool accumulate);

}  // namespace segrid::gemm
