#include "kernels/gemm/op.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "core/cpu.h"
#include "core/error.h"
#include "kernels/gemm/implementations.h"
#include "kernels/rows/op.h"

namespace segrid {

namespace {

const KernelSwitch& choice() {
    static const KernelSwitch kernel("gemm", cpu_features().avx512 ? std::vector<std::string>{"brgemm", "plain"}
                                                                   : std::vector<std::string>{"plain"});
    return kernel;
}

[[maybe_unused]] const bool registered = (choice(), true);

gemm::Matmul implementation() { return choice().plain() ? gemm::matmul_plain : gemm::matmul_brgemm; }

void finish(int64_t rows, int64_t n0, int64_t nc, float* out, int64_t ldo, const Epilogue& e) {
    if (e.bias == nullptr && e.activation == Activation::None && e.residual == nullptr) return;
    for (int64_t r = 0; r < rows; ++r) {
        float* row = out + r * ldo + n0;
        if (e.bias != nullptr) add(nc, row, e.bias + n0, row);
        if (e.activation == Activation::Gelu) gelu(nc, row);
        if (e.activation == Activation::Relu) relu(nc, row);
    }
}

}  // namespace

void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc, bool accumulate) {
    if (m > 0 && n > 0) implementation()(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}

PackedMatrix::PackedMatrix(const at::Tensor& weight) : k_(weight.size(1)), n_(weight.size(0)) {
    const int64_t panels = (n_ + kPanel - 1) / kPanel;
    at::Tensor padded = at::zeros({panels * kPanel, k_}, weight.options());
    padded.narrow(0, 0, n_).copy_(weight);
    data_ = padded.view({panels, kPanel, k_}).transpose(1, 2).contiguous();
}

void linear_part(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, int64_t k0, int64_t count, float* out,
                 int64_t ldo, bool accumulate) {
    const gemm::Matmul product = implementation();
    constexpr int64_t p = PackedMatrix::kPanel;
    for (int64_t n0 = 0; n0 < w.n(); n0 += p) {
        product(rows, std::min(p, w.n() - n0), count, a, lda, w.panel(n0 / p) + k0 * p, p, out + n0, ldo, accumulate);
    }
}

void linear_columns(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, int64_t n0, int64_t count, float* out,
                    int64_t ldo, const Epilogue& e) {
    if (e.residual != nullptr) internal("linear_columns: a residual belongs to linear()");
    const gemm::Matmul product = implementation();
    constexpr int64_t p = PackedMatrix::kPanel;
    Epilogue part = e;
    if (e.bias != nullptr) part.bias = e.bias + n0;
    for (int64_t c = 0; c < count; c += p) {
        const int64_t nc = std::min(p, count - c);
        product(rows, nc, w.k(), a, lda, w.panel((n0 + c) / p), p, out + c, ldo, false);
        finish(rows, c, nc, out, ldo, part);
    }
}

void linear(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, float* out, int64_t ldo, const Epilogue& e) {
    const gemm::Matmul product = implementation();
    constexpr int64_t p = PackedMatrix::kPanel;
    // out = product + residual needs no extra memory when the activation is the identity and the residual is already there.
    const bool in_place = e.residual == out && e.activation == Activation::None;
    if (e.residual != nullptr && !in_place) internal("linear: the residual is added in place, behind no activation");
    for (int64_t n0 = 0; n0 < w.n(); n0 += p) {
        const int64_t nc = std::min(p, w.n() - n0);
        product(rows, nc, w.k(), a, lda, w.panel(n0 / p), p, out + n0, ldo, in_place);
        finish(rows, n0, nc, out, ldo, e);
    }
}

}  // namespace segrid
