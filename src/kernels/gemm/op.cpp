#include "kernels/gemm/op.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/error.h"
#include "kernels/gemm/implementations.h"
#include "kernels/gemm/torch_int8.h"
#include "kernels/rows/op.h"

namespace segrid {

namespace {

const gemm::Fp32Implementation& fp32_implementation() {
    static const KernelTables<gemm::Fp32Implementation> kernel("gemm", {{"brgemm", cpu_features().avx512 ? &gemm::fp32_brgemm() : nullptr},
                                                                        {"avx2", cpu_features().avx2 ? &gemm::fp32_avx2() : nullptr},
                                                                        {"plain", &gemm::fp32_plain()}});
    return *kernel;
}

const gemm::Bf16Implementation& bf16_implementation() {
    const bool amx = cpu_features().amx, instructions = cpu_features().avx512_bf16;
    using Entry = KernelTables<gemm::Bf16Implementation>::Entry;
    const Entry brgemm{"brgemm", amx || instructions ? &gemm::bf16_brgemm() : nullptr};
    const Entry own{"avx512bf16", instructions ? &gemm::bf16_avx512bf16() : nullptr};
    static const KernelTables<gemm::Bf16Implementation> kernel("gemm_bf16", {amx ? brgemm : own, amx ? own : brgemm,
                                                                             {"avx2", cpu_features().avx2 ? &gemm::bf16_avx2() : nullptr},
                                                                             {"plain", &gemm::bf16_plain()}});
    return *kernel;
}

const gemm::Int8Implementation& int8_implementation() {
    const bool amx = cpu_features().amx, vnni = cpu_features().avx512_vnni;
    using Entry = KernelTables<gemm::Int8Implementation>::Entry;
    const Entry brgemm{"brgemm", amx || vnni ? &gemm::int8_brgemm() : nullptr}, own{"avx512vnni", vnni ? &gemm::int8_avx512vnni() : nullptr};
    static const KernelTables<gemm::Int8Implementation> kernel("gemm_int8", {amx ? brgemm : own, amx ? own : brgemm,
                                                                             {"avx2", cpu_features().avx2 ? &gemm::int8_avx2() : nullptr},
                                                                             {"plain", &gemm::int8_plain()}});
    return *kernel;
}

[[maybe_unused]] const bool registered = (fp32_implementation(), bf16_implementation(), int8_implementation(), true);

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
    Left(int64_t k, const uint16_t* a, int64_t lda) : fp32_(nullptr), bf16_(a), ld_(lda), k_(k) {}

    ~Left() {
        if (bf16_ != nullptr && bf16_implementation().leave != nullptr) bf16_implementation().leave();
    }
    Left(const Left&) = delete;
    Left& operator=(const Left&) = delete;

    void times(int64_t m, int64_t n, const Factor& b, float* c, int64_t ldc, bool accumulate) const {
        if (bf16_ != nullptr) {
            bf16_implementation().product(m, n, k_, bf16_, ld_, b.bf16, b.ld, c, ldc, accumulate);
        } else {
            fp32_implementation().product(m, n, k_, fp32_, ld_, b.fp32, b.ld, c, ldc, accumulate);
        }
    }

private:
    const float* fp32_;
    const uint16_t* bf16_ = nullptr;
    int64_t ld_, k_;
};

void over_panels(const Left& left, int64_t m, int64_t n0, int64_t n, int64_t k, const Factor& panels, float* c, int64_t ldc) {
    for (int64_t done = 0; done < n;) {
        const int64_t column = (n0 + done) % kPanel, count = std::min(kPanel - column, n - done);
        const Factor panel = panels.from_row((n0 + done) / kPanel * (panels.bf16 != nullptr ? even(k) : k)).from_column(column);
        left.times(m, count, panel, c + done, ldc, false);
        done += count;
    }
}

// Rows of a weight at a time, so that what is rounded of A stays in the second-level cache.
constexpr int64_t kRows = 64;

void finish(int64_t rows, int64_t n0, int64_t nc, float* out, int64_t ldo, const Epilogue& e) {
    if (e.bias == nullptr && e.activation == Activation::None && e.residual == nullptr) return;
    for (int64_t r = 0; r < rows; ++r) {
        float* row = out + r * ldo + n0;
        if (e.bias != nullptr) add(nc, row, e.bias + n0, row);
        if (e.activation == Activation::Gelu) gelu(nc, row);
        if (e.activation == Activation::QuickGelu) quick_gelu(nc, row);
        if (e.activation == Activation::Relu) relu(nc, row);
    }
}

// Rows of A in u8, each with its scale.
class QuantisedLeft {
public:
    QuantisedLeft(int64_t m, int64_t k, const float* a, int64_t lda, const std::string& name) : k_((k + 3) / 4 * 4) {
        thread_local std::vector<uint8_t> quantised;  // grows to the largest tile: one call at a time uses it
        quantised.resize(std::max(quantised.size(), static_cast<std::size_t>(m * k_)));
        for (int64_t i = 0; i < m; ++i) {
            uint8_t* row = quantised.data() + i * k_;
            if (!quantise_row(k, a + i * lda, row, scales_[i])) {
                fail(ErrorKind::Corrupt, "int8: the activations in front of " + name + " hold NaN or Inf, for which there is no scale; precision='fp32' shows "
                                         "whether the weights overflow by themselves");
            }
            std::fill(row + k, row + k_, uint8_t{0});
        }
        data_ = quantised.data();
    }
    ~QuantisedLeft() {
        if (int8_implementation().leave != nullptr) int8_implementation().leave();
    }
    QuantisedLeft(const QuantisedLeft&) = delete;
    QuantisedLeft& operator=(const QuantisedLeft&) = delete;

    // With the first n columns of a panel, rows [k0, k1).
    void times(int64_t m, int64_t n, const PackedMatrix& w, int64_t panel, int64_t k0, int64_t k1, float* c, int64_t ldc, bool accumulate) const {
        alignas(64) int32_t offsets[kPanel];
        w.sums(panel, k0, k1, offsets);
        int8_implementation().product(m, n, k_, data_, k_, w.panel_int8(panel, k0), c, ldc, accumulate, {scales_, offsets, w.scales(panel)});
    }

private:
    int64_t k_;
    const uint8_t* data_ = nullptr;
    RowScale scales_[kRows];
};

// A part of a weight: rows [k0, k0 + k) of columns [n0, n0 + n).
struct Part {
    int64_t k0, k, n0, n;
};

void product(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, const Part& part, float* out, int64_t ldo, bool accumulate,
             const Epilogue& epilogue) {
    if (w.torch() != nullptr) {
        if (part.k != w.k() || part.n != w.n()) internal("linear: int8-torch has no parts");
        w.torch()->product(rows, a, lda, out, ldo, accumulate);
        return finish(rows, 0, w.n(), out, ldo, epilogue);
    }
    const auto panels = [&](int64_t m, float* to, const auto& times) {
        for (int64_t c = 0; c < part.n; c += kPanel) {
            const int64_t n = std::min(kPanel, part.n - c);
            times(n, (part.n0 + c) / kPanel, to + c);
            finish(m, c, n, to, ldo, epilogue);
        }
    };
    for (int64_t r0 = 0; r0 < rows; r0 += kRows) {
        const int64_t m = std::min(kRows, rows - r0);
        const float* from = a + r0 * lda;
        float* to = out + r0 * ldo;
        if (w.precision() == Precision::Int8) {
            const QuantisedLeft left(m, part.k, from, lda, w.name());
            panels(m, to, [&](int64_t n, int64_t panel, float* c) { left.times(m, n, w, panel, part.k0, part.k0 + part.k, c, ldo, accumulate); });
        } else {
            const Left left(w.precision() == Precision::Bf16, m, part.k, from, lda);
            panels(m, to, [&](int64_t n, int64_t panel, float* c) { left.times(m, n, w.panel(panel).from_row(part.k0), c, ldo, accumulate); });
        }
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

void matmul(int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t lda, const Factor& b, float* c, int64_t ldc, bool accumulate) {
    if (m > 0 && n > 0) Left(k, a, lda).times(m, n, b, c, ldc, accumulate);
}

void matmul_panels(int64_t m, int64_t n0, int64_t n, int64_t k, const float* a, int64_t lda, const Factor& panels, float* c, int64_t ldc) {
    over_panels(Left(panels.bf16 != nullptr, m, k, a, lda), m, n0, n, k, panels, c, ldc);
}

void matmul_panels(int64_t m, int64_t n0, int64_t n, int64_t k, const uint16_t* a, int64_t lda, const Factor& panels, float* c, int64_t ldc) {
    over_panels(Left(k, a, lda), m, n0, n, k, panels, c, ldc);
}

void linear_part(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, int64_t k0, int64_t count, float* out,
                 int64_t ldo, bool accumulate) {
    product(rows, a, lda, w, {.k0 = k0, .k = count, .n0 = 0, .n = w.n()}, out, ldo, accumulate, {});
}

void linear_columns(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, int64_t n0, int64_t count, float* out,
                    int64_t ldo, const Epilogue& e) {
    // out = product + residual needs no extra memory when the activation is the identity and the residual is already there.
    const bool in_place = e.residual == out && e.activation == Activation::None;
    if (e.residual != nullptr && !in_place) internal("linear: the residual is added in place, behind no activation");
    Epilogue part = e;
    if (e.bias != nullptr) part.bias = e.bias + n0;
    product(rows, a, lda, w, {.k0 = 0, .k = w.k(), .n0 = n0, .n = count}, out, ldo, in_place, part);
}

void linear(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, float* out, int64_t ldo, const Epilogue& e) {
    linear_columns(rows, a, lda, w, 0, w.n(), out, ldo, e);
}

}  // namespace segrid
