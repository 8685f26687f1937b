// The implementations that gemm/op.cpp chooses from. All compute C = A B (+ C); A row-major, B and C as in op.h.
#pragma once

#include <cstdint>

namespace segrid::gemm {

struct Implementation {
    void (*fp32)(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate);
    // A in bf16, lda even; k even; B in pairs of rows
    void (*bf16)(int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float* c, int64_t ldc,
                 bool accumulate);
    void (*leave)() = nullptr;  // behind the last of several bf16 products
};

const Implementation& plain();
const Implementation& avx2();
// LibTorch's brgemm: AVX-512, its bf16 instructions, and AMX where there is one; over 90 % of a core's peak where MKL on AMD reaches a third.
const Implementation& brgemm();

}  // namespace segrid::gemm
