// The small parts that every model is made of: const callables on rows of floats, built once from a
// scope of weights.
#pragma once

#include <vector>

#include "core/arena.h"
#include "kernels/gemm/op.h"
#include "kernels/rows/op.h"
#include "weights/store.h"

namespace segrid {

// The weight of a Linear, [out, in]. It is fp32, or s8 with one scale per row if the file has it so
// and the scope asks for int8.
struct LinearWeight {
    at::Tensor values, scales;  // scales: undefined for fp32
    LinearWeight(const WeightScope& scope, int64_t in, int64_t out);
    LinearWeight(at::Tensor all_values, at::Tensor all_scales)
        : values(std::move(all_values)), scales(std::move(all_scales)) {}
};

class Linear {
public:
    Linear() = default;
    Linear(const WeightScope& scope, int64_t in, int64_t out, bool with_bias = true);
    // weight: [out, in]; bias: [out] or undefined.
    Linear(const at::Tensor& weight, at::Tensor bias, Precision precision);
    Linear(const LinearWeight& weight, at::Tensor bias, const WeightScope& scope);
    // Joins several Linears of the same input into one. `parts` are names below the scope; their
    // outputs (`out` each) lie side by side.
    static Linear stacked(const WeightScope& scope, const std::vector<std::string>& parts,
                          int64_t in, int64_t out);

    // out[rows, n] = activation(x W^T + b). Rows of x are ldx floats apart, rows of out ldo.
    void operator()(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo,
                    Activation activation = Activation::None) const;
    // out += x W^T + b
    void add_to(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo) const;

    const PackedMatrix& weight() const { return weight_; }
    const float* bias() const { return bias_.defined() ? bias_.const_data_ptr<float>() : nullptr; }
    at::Tensor of_zeros() const;  // [out]: the result for a row of zeros

private:
    PackedMatrix weight_;
    at::Tensor bias_;
};

class LayerNorm {
public:
    LayerNorm() = default;
    LayerNorm(const WeightScope& scope, int64_t dim, float eps);
    // Rows are contiguous; out may be x.
    void operator()(int64_t rows, const float* x, float* out) const;
    const float* gamma() const { return gamma_.const_data_ptr<float>(); }
    const float* beta() const { return beta_.const_data_ptr<float>(); }
    const at::Tensor& gamma_tensor() const { return gamma_; }
    const at::Tensor& beta_tensor() const { return beta_; }
    float eps() const { return eps_; }

private:
    at::Tensor gamma_, beta_;
    float eps_ = 1e-6F;
};

// transformers' SamFeedForward: proj_in, layers.*, proj_out with ReLU between them.
class FeedForward {
public:
    FeedForward() = default;
    FeedForward(const WeightScope& scope, int64_t in, int64_t hidden, int64_t out, int64_t depth);
    void operator()(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo,
                    Arena& arena) const;

private:
    int64_t hidden_ = 0;
    std::vector<Linear> layers_;
};

}  // namespace segrid
