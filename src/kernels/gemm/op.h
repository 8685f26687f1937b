// Matrix products on raw row-major memory, for use inside a worker (single-threaded). Inputs and
// outputs are fp32. A bf16 product rounds both factors to bf16 (round to nearest even) and sums in
// fp32. An int8 product quantises rows (quantise_row), multiplies them with an s8 weight, and sums
// exactly.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/precision.h"
#include "core/rows.h"
#include "kernels/gemm/panel.h"

namespace segrid {

inline int64_t even(int64_t n) { return (n + 1) / 2 * 2; }

// The right-hand side of a product: row-major fp32, or bf16 in pairs of rows, [k / 2][ld][2], the
// layout that the instructions read. For bf16 k is even; an odd k gets a row of zeros. Not owned.
struct Factor {
    const float* fp32 = nullptr;
    const uint16_t* bf16 = nullptr;
    int64_t ld = 0;  // columns from one row to the next
    // A factor may lie in strips of ld columns: the way from one to the next. 0: it does not.
    int64_t strip = 0;
    // n0 must be a multiple of ld if the factor lies in strips.
    Factor from_column(int64_t n0) const {
        const int64_t by = strip > 0 ? n0 / ld * strip : n0;
        return {fp32 != nullptr ? fp32 + by : nullptr, bf16 != nullptr ? bf16 + 2 * by : nullptr,
                ld, strip};
    }
    // Returns the panel with this index, if the factor is consecutive panels of k rows.
    Factor panel(int64_t index, int64_t k) const { return from_row(index * k * kPanel / ld); }
    // k0 must be even.
    Factor from_row(int64_t k0) const {
        return {fp32 != nullptr ? fp32 + k0 * ld : nullptr,
                bf16 != nullptr ? bf16 + k0 * ld : nullptr, ld, strip};
    }
};
// Prepares b[k, n] as a factor. In fp32 the factor refers to b; in bf16 it lies in the arena.
Factor make_factor(Precision precision, int64_t k, int64_t n, const float* b, int64_t ldb,
                   Arena& arena);
// The same for a factor of many products. If the implementation copies factors before it multiplies
// them, it is copied here once, to the arena.
Factor make_reused_factor(Precision precision, int64_t k, int64_t n, const float* b, int64_t ldb,
                          Arena& arena);

// The columns of the strips that products in fp32 read without a copy; 0: they read rows.
int64_t strip_width();
// A product with fewer columns takes as long as one with this many.
int64_t narrowest(Precision precision);

// C[m,n] = A[m,k] B[k,n] (+ C when accumulate). C overlaps neither A nor B.
// next: what is read after the product, for which it may ask meanwhile. More than one region only
// if b lies in strips.
void matmul(int64_t m, int64_t n, int64_t k, Rows<const float> a, const Factor& b, Rows<float> c,
            bool accumulate = false, std::span<const ReadNext> next = {});
inline void matmul(int64_t m, int64_t n, int64_t k, Rows<const float> a, Rows<const float> b,
                   Rows<float> c, bool accumulate = false) {
    matmul(m, n, k, a, Factor{b.data, nullptr, b.stride}, c, accumulate);
}

// The same with A in bf16 already; b is, too. k and the stride of A are even, here and in
// matmul_panels.
void matmul(int64_t m, int64_t n, int64_t k, Rows<const uint16_t> a, const Factor& b, Rows<float> c,
            bool accumulate = false);

// Returns k rows and n columns of a factor as an fp32 matrix, for definitions and tests.
at::Tensor widened(const Factor& factor, int64_t k, int64_t n);

// C[m,n] = A[m,k] times the columns [n0, n0 + n) of a matrix stored as consecutive panels of kPanel
// columns, each [k][kPanel] or in strips.
void matmul_panels(int64_t m, int64_t n0, int64_t n, int64_t k, Rows<const float> a,
                   const Factor& panels, Rows<float> c);
void matmul_panels(int64_t m, int64_t n0, int64_t n, int64_t k, Rows<const uint16_t> a,
                   const Factor& panels, Rows<float> c);
// C[m, kPanel] = start + A times the columns [n0, n0 + kPanel); n0 is a multiple of kPanel. Only
// call if sums_can_start(), because not every implementation can do this.
bool sums_can_start();
void matmul_panel(int64_t m, int64_t n0, int64_t k, Rows<const uint16_t> a, const Factor& panels,
                  Rows<float> c, const Start& start);

// A Linear's weight in s8: row n of the weight is scales[n] * values[n].
struct QuantisedWeight {
    at::Tensor values;  // [n, k] s8, from -127 to 127
    at::Tensor scales;  // [n]
};
// Symmetric: the largest magnitude in each row becomes 127, or less where the panels shall be
// narrow (panel.h).
QuantisedWeight quantise(const at::Tensor& weight, bool narrow = false);
at::Tensor dequantise(const QuantisedWeight& weight);

class TorchInt8;
struct RowScale;

// A Linear's weight, packed once at load into panels of 64 columns. Each panel is a factor of all k
// rows, in strips where products read strips; the last panel is zero-padded.
class PackedMatrix {
public:
    // Int8 panels keep sums of their columns up to every kGroup-th row, so parts of the inner
    // dimension must begin and end at multiples of kGroup.
    static constexpr int64_t kGroup = 512;

    PackedMatrix() = default;
    // weight: [n, k] in fp32, as torch.nn.Linear keeps it. name: appears in errors. In int8 it is
    // made narrow on CPUs whose products are faster then.
    PackedMatrix(const at::Tensor& weight, Precision precision, std::string name = "");
    PackedMatrix(const QuantisedWeight& weight, std::string name);  // Int8

    int64_t k() const { return k_; }
    int64_t n() const { return n_; }
    Precision precision() const { return precision_; }
    const std::string& name() const { return name_; }
    Factor panel(int64_t index) const;  // for fp32 and bf16
    // For int8: the panel from row k0 on, which is a multiple of kGroup; its scales; and the sums
    // of its columns over [k0, k1).
    Int8Panel panel_int8(int64_t index, int64_t k0) const;
    const float* scales(int64_t index) const;
    void sums(int64_t index, int64_t k0, int64_t k1, int32_t out[kPanel]) const;
    const TorchInt8* torch() const { return torch_.get(); }

private:
    at::Tensor data_, scales_, sums_;
    std::vector<bool> narrow_;                // for each panel
    std::shared_ptr<const TorchInt8> torch_;  // set for Int8Torch only
    Precision precision_ = Precision::Fp32;
    int64_t k_ = 0, n_ = 0, strip_ = 0;
    std::string name_;
};

enum class Activation { None, Gelu, QuickGelu, Relu };

// The steps applied to a product before it is stored: out = activation(product + bias) + residual.
// A null pointer skips its step.
struct Epilogue {
    const float* bias = nullptr;
    Activation activation = Activation::None;
    const float* residual = nullptr;  // null, or out itself (then there is no activation)
};

// The input rows of a Linear, prepared once for all parts of its columns: unchanged, rounded to
// bf16, or quantised with one scale per row.
struct LinearInput {
    int64_t rows = 0, ld = 0;
    const float* fp32 = nullptr;
    const uint16_t* bf16 = nullptr;
    const uint8_t* int8 = nullptr;
    const RowScale* scales = nullptr;
    LinearInput from_row(int64_t r) const;
};
// The prepared rows lie in the arena, except that fp32 rows stay where they are. Throws as linear
// does. Not for Int8Torch.
LinearInput linear_input(int64_t rows, Rows<const float> a, const PackedMatrix& w, Arena& arena);

// out[rows, n] = epilogue(a[rows, k] W). In int8, throws Corrupt naming the weight if a row holds
// NaN or Inf, because no scale can represent it.
void linear(int64_t rows, Rows<const float> a, const PackedMatrix& w, Rows<float> out,
            const Epilogue& epilogue = {});

// Multiplies only the part [k0, k0 + count) of the inner dimension: out (+)= a[rows, count] W[k0 :
// k0 + count]. k0 is even, and in int8 a multiple of kGroup. In int8 each row gets a scale for this
// part. Not for Int8Torch.
void linear_part(int64_t rows, Rows<const float> a, const PackedMatrix& w, int64_t k0,
                 int64_t count, Rows<float> out, bool accumulate);
// Computes only the columns [n0, n0 + count), from rows prepared for w. n0 is a multiple of kPanel.
// Not for Int8Torch.
void linear_columns(const LinearInput& a, const PackedMatrix& w, int64_t n0, int64_t count,
                    Rows<float> out, const Epilogue& epilogue);

}  // namespace segrid
