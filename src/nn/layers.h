// The small parts every model is made of: const callables on rows of floats, built once from a
// scope of weights.
#pragma once

#include <vector>

#include "core/arena.h"
#include "kernels/gemm/op.h"
#include "kernels/rows/op.h"
#include "weights/store.h"

namespace segrid {

// Of a Linear, [out, in]: fp32; or s8 with the factors of its rows, where the file has it so and
// the scope asks for int8.
struct LinearWeight {
    at::Tensor values, scales;  // scales: undefined for fp32
    LinearWeight(const Scope& scope, int64_t in, int64_t out);
    LinearWeight(at::Tensor all_values, at::Tensor all_scales)
        : values(std::move(all_values)), scales(std::move(all_scales)) {}
};

class Linear {
public:
    Linear() = default;
    Linear(const Scope& scope, int64_t in, int64_t out, bool with_bias = true);
    Linear(const at::Tensor& weight, at::Tensor bias,
           Precision precision);  // [out, in], [out] or undefined
    Linear(const LinearWeight& weight, at::Tensor bias, const Scope& scope);
    // Several Linears of one input as one: `parts` below the scope, `out` outputs each, side by
    // side.
    static Linear stacked(const Scope& scope, const std::vector<std::string>& parts, int64_t in,
                          int64_t out);

    // out[rows, n] (ldo floats apart) = x W^T + b, then the activation
    void operator()(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo,
                    Activation activation = Activation::None) const;
    // out += x W^T + b
    void add_to(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo) const;

    const PackedMatrix& weight() const { return weight_; }
    const float* bias() const { return bias_.defined() ? bias_.const_data_ptr<float>() : nullptr; }
    at::Tensor of_zeros() const;  // [out]: what a row of zeros becomes

private:
    PackedMatrix weight_;
    at::Tensor bias_;
};

class LayerNorm {
public:
    LayerNorm() = default;
    LayerNorm(const Scope& scope, int64_t dim, float eps);
    void operator()(int64_t rows, const float* x,
                    float* out) const;  // contiguous rows; out may be x
    const float* gamma() const { return gamma_.const_data_ptr<float>(); }
    const float* beta() const { return beta_.const_data_ptr<float>(); }
    float eps() const { return eps_; }

private:
    at::Tensor gamma_, beta_;
    float eps_ = 1e-6F;
};

// transformers' SamFeedForward: proj_in, layers.*, proj_out with ReLU between.
class FeedForward {
public:
    FeedForward() = default;
    FeedForward(const Scope& scope, int64_t in, int64_t hidden, int64_t out, int64_t depth);
    void operator()(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo,
                    Arena& arena) const;

private:
    int64_t hidden_ = 0;
    std::vector<Linear> layers_;
};

}  // namespace segrid
