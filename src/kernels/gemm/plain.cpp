// The definition: ATen's matrix product on views of the caller's memory.
#include <ATen/Functions.h>

#include "kernels/gemm/implementations.h"

namespace segrid::gemm {

void matmul_plain(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                  int64_t ldc, bool accumulate) {
    const auto view = [](const float* p, int64_t rows, int64_t cols, int64_t ld) {
        return at::from_blob(const_cast<float*>(p), {rows, cols}, {ld, 1});
    };
    at::Tensor out = view(c, m, n, ldc);
    if (accumulate) {
        out.addmm_(view(a, m, k, lda), view(b, k, n, ldb));
    } else {
        at::mm_out(out, view(a, m, k, lda), view(b, k, n, ldb));
    }
}

}  // namespace segrid::gemm
