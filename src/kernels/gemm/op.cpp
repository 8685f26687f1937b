#include "kernels/gemm/op.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <vector>

#include "core/cpu.h"
#include "core/error.h"
#include "kernels/gemm/implementations.h"
#include "kernels/rows/op.h"

namespace segrid {

namespace {

const gemm::Implementation& implementation() {
    static const KernelTables<gemm::Implementation> kernel("gemm", {{"brgemm", cpu_features().avx512 ? &gemm::brgemm() : nullptr},
                                                                    {"avx2", cpu_features().avx2 ? &gemm::avx2() : nullptr},
                                                                    {"plain", &gemm::plain()}});
    return *kernel;
}

[[maybe_unused]] const bool registered = (implementation(), true);

int64_t even(int64_t n) { return (n + 1) / 2 * 2; }

// The left-hand side of a product, in the precision of the right-hand one: rounded once for all panels it meets.
class Left {
public:
    Left(bool bf16, int64_t m, int64_t k, const float* a, int64_t lda) : fp32_(a), ld_(lda), k_(k) {
        if (!bf16) return;
        thread_local std::vector<uint16_t> rounded;  // grows to the largest tile: one call at a time uses it
        k_ = ld_ = even(k);
        rounded.resize(std::max(rounded.size(), static_cast<std::size_t>(m * ld_)));
        for (int64_t i = 0; i < m; ++i) {
            to_bf16(k, a + i * lda, rounded.data() + i * ld_);
            if (ld_ > k) rounded[static_cast<std::size_t>(i * ld_ + k)] = 0;
        }
        bf16_ = rounded.data();
    }

    ~Left() {
        if (bf16_ != nullptr && implementation().leave != nullptr) implementation().leave();
    }
    Left(const Left&) = delete;
    Left& operator=(const Left&) = delete;

    void times(int64_t m, int64_t n, const Factor& b, float* c, int64_t ldc, bool accumulate) const {
        if (bf16_ != nullptr) {
            implementation().bf16(m, n, k_, bf16_, ld_, b.bf16, b.ld, c, ldc, accumulate);
        } else {
            implementation().fp32(m, n, k_, fp32_, ld_, b.fp32, b.ld, c, ldc, accumulate);
        }
    }

private:
    const float* fp32_;
    const uint16_t* bf16_ = nullptr;
    int64_t ld_, k_;
};

// Rows of a weight at a time, so that what is rounded of A stays in the second-level cache.
constexpr int64_t kRows = 64;

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

Factor make_factor(Precision precision, int64_t k, int64_t n, const float* b, int64_t ldb, Arena& arena) {
    if (precision == Precision::Fp32) return {b, nullptr, ldb};
    uint16_t* pairs = arena.take<uint16_t>(even(k) * n);
    for (int64_t i = 0; i < k; i += 2) pair_bf16(n, b + i * ldb, i + 1 < k ? b + (i + 1) * ldb : nullptr, pairs + i * n);
    return {nullptr, pairs, n};
}

void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const Factor& b, float* c, int64_t ldc, bool accumulate) {
    if (m > 0 && n > 0) Left(b.bf16 != nullptr, m, k, a, lda).times(m, n, b, c, ldc, accumulate);
}

at::Tensor widened(const Factor& f, int64_t k, int64_t n) {
    if (f.fp32 != nullptr) return at::from_blob(const_cast<float*>(f.fp32), {k, n}, {f.ld, 1}, at::kFloat);
    const int64_t pairs = even(k) / 2;
    return at::from_blob(const_cast<uint16_t*>(f.bf16), {pairs, n, 2}, {2 * f.ld, 2, 1}, at::kBFloat16)
        .to(at::kFloat).transpose(1, 2).reshape({2 * pairs, n}).narrow(0, 0, k);
}

void matmul_panels(int64_t m, int64_t n0, int64_t n, int64_t k, const float* a, int64_t lda, const Factor& panels, float* c, int64_t ldc) {
    const bool bf16 = panels.bf16 != nullptr;
    const Left left(bf16, m, k, a, lda);
    for (int64_t done = 0; done < n;) {
        const int64_t column = (n0 + done) % kPanel, count = std::min(kPanel - column, n - done);
        const Factor panel = panels.from_row((n0 + done) / kPanel * (bf16 ? even(k) : k)).from_column(column);
        left.times(m, count, panel, c + done, ldc, false);
        done += count;
    }
}

PackedMatrix::PackedMatrix(const at::Tensor& weight, Precision precision)
    : precision_(precision), k_(weight.size(1)), n_(weight.size(0)) {
    const int64_t panels = (n_ + kPanel - 1) / kPanel;
    const bool bf16 = precision == Precision::Bf16;
    const int64_t k = bf16 ? even(k_) : k_;
    at::Tensor padded = at::zeros({panels * kPanel, k}, weight.options());
    padded.narrow(0, 0, n_).narrow(1, 0, k_).copy_(weight);
    if (bf16) {
        data_ = padded.to(at::kBFloat16).view({panels, kPanel, k / 2, 2}).transpose(1, 2).contiguous();
    } else {
        data_ = padded.view({panels, kPanel, k}).transpose(1, 2).contiguous();
    }
}

Factor PackedMatrix::panel(int64_t index) const {
    if (precision_ == Precision::Fp32) return {data_.const_data_ptr<float>() + index * k_ * kPanel, nullptr, kPanel};
    return {nullptr, static_cast<const uint16_t*>(data_.const_data_ptr()) + index * even(k_) * kPanel, kPanel};
}

void linear_part(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, int64_t k0, int64_t count, float* out,
                 int64_t ldo, bool accumulate) {
    constexpr int64_t p = kPanel;
    for (int64_t r0 = 0; r0 < rows; r0 += kRows) {
        const int64_t m = std::min(kRows, rows - r0);
        const Left left(w.precision() == Precision::Bf16, m, count, a + r0 * lda, lda);
        for (int64_t n0 = 0; n0 < w.n(); n0 += p) {
            left.times(m, std::min(p, w.n() - n0), w.panel(n0 / p).from_row(k0), out + r0 * ldo + n0, ldo, accumulate);
        }
    }
}

void linear_columns(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, int64_t n0, int64_t count, float* out,
                    int64_t ldo, const Epilogue& e) {
    constexpr int64_t p = kPanel;
    // out = product + residual needs no extra memory when the activation is the identity and the residual is already there.
    const bool in_place = e.residual == out && e.activation == Activation::None;
    if (e.residual != nullptr && !in_place) internal("linear: the residual is added in place, behind no activation");
    Epilogue part = e;
    if (e.bias != nullptr) part.bias = e.bias + n0;
    for (int64_t r0 = 0; r0 < rows; r0 += kRows) {
        const int64_t m = std::min(kRows, rows - r0);
        const Left left(w.precision() == Precision::Bf16, m, w.k(), a + r0 * lda, lda);
        for (int64_t c = 0; c < count; c += p) {
            const int64_t n = std::min(p, count - c);
            left.times(m, n, w.panel((n0 + c) / p), out + r0 * ldo + c, ldo, in_place);
            finish(m, c, n, out + r0 * ldo, ldo, part);
        }
    }
}

void linear(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, float* out, int64_t ldo, const Epilogue& e) {
    linear_columns(rows, a, lda, w, 0, w.n(), out, ldo, e);
}

}  // namespace segrid
