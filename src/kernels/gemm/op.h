// Matrix products in fp32 on raw row-major memory, for use inside a worker (single-threaded, no allocation).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace segrid {

// C[m,n] = A[m,k] B[k,n] (+ C when accumulate). lda, ldb, ldc: floats from one row to the next. C overlaps neither A nor B.
void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc, bool accumulate = false);

// A Linear's weight, packed once at load: panels of 64 columns, each [k][64], the last one zero-padded.
class PackedMatrix {
public:
    static constexpr int64_t kPanel = 64;

    PackedMatrix() = default;
    explicit PackedMatrix(const at::Tensor& weight);  // [n, k] as torch.nn.Linear keeps it; fp32

    int64_t k() const { return k_; }
    int64_t n() const { return n_; }
    const float* panel(int64_t index) const { return data_.const_data_ptr<float>() + index * k_ * kPanel; }

private:
    at::Tensor data_;
    int64_t k_ = 0, n_ = 0;
};

enum class Activation { None, Gelu, Relu };

// What happens to a product before it is stored: out = activation(product + bias) + residual. Null: without.
struct Epilogue {
    const float* bias = nullptr;
    Activation activation = Activation::None;
    const float* residual = nullptr;  // null, or out itself (then without activation)
};

// out[rows, n] = epilogue(a[rows, k] W).
void linear(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, float* out, int64_t ldo,
            const Epilogue& epilogue = {});

// The part of the inner dimension [k0, k0 + count) alone: out (+)= a[rows, count] W[k0 : k0 + count].
void linear_part(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, int64_t k0, int64_t count, float* out,
                 int64_t ldo, bool accumulate);
// The part of the columns [n0, n0 + count) alone; n0 is a multiple of PackedMatrix::kPanel.
void linear_columns(int64_t rows, const float* a, int64_t lda, const PackedMatrix& w, int64_t n0, int64_t count, float* out,
                    int64_t ldo, const Epilogue& epilogue);

}  // namespace segrid
