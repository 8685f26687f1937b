#include "nn/layers.h"

#include <ATen/Functions.h>

#include <string>

#include "core/error.h"

namespace segrid {

LinearWeight::LinearWeight(const WeightScope& scope, int64_t in, int64_t out) {
    if (scope.precision() == Precision::Int8)
        scope.store().note_quantised(scope.prefix() + ".weight");
    if (scope.precision() == Precision::Int8 && scope.is_quantised("weight")) {
        const QuantisedTensor q = scope.quantised("weight", {out, in});
        values = q.values;
        scales = q.scales;
    } else {
        values = scope.tensor("weight", {out, in});
    }
}

Linear::Linear(const WeightScope& scope, int64_t in, int64_t out, bool with_bias)
    : Linear(LinearWeight(scope, in, out), with_bias ? scope.tensor("bias", {out}) : at::Tensor(),
             scope) {}

Linear::Linear(const LinearWeight& weight, at::Tensor bias, const WeightScope& scope)
    : weight_(weight.scales.defined()
                  ? PackedMatrix(QuantisedWeight{weight.values, weight.scales}, scope.prefix())
                  : PackedMatrix(weight.values, scope.precision(), scope.prefix())),
      bias_(std::move(bias)) {}

Linear::Linear(const at::Tensor& weight, at::Tensor bias, Precision precision)
    : weight_(weight, precision), bias_(std::move(bias)) {}

Linear Linear::stacked(const WeightScope& scope, const std::vector<std::string>& parts, int64_t in,
                       int64_t out) {
    std::vector<at::Tensor> values, scales, biases;
    for (const std::string& part : parts) {
        const LinearWeight weight(scope / part, in, out);
        values.push_back(weight.values);
        if (weight.scales.defined()) scales.push_back(weight.scales);
        biases.push_back((scope / part).tensor("bias", {out}));
    }
    if (!scales.empty() && scales.size() != parts.size()) {
        fail(ErrorKind::Corrupt, scope.store().path() + ": " + scope.prefix() +
                                     " is kept in int8 in part; all of " + parts.front() + " ... " +
                                     parts.back() + " must be");
    }
    LinearWeight all(at::cat(values), scales.empty() ? at::Tensor() : at::cat(scales));
    return Linear(all, at::cat(biases), scope);
}

void Linear::operator()(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo,
                        Activation activation) const {
    linear(rows, {x, ldx}, weight_, {out, ldo}, {.bias = bias(), .activation = activation});
}

void Linear::add_to(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo) const {
    linear(rows, {x, ldx}, weight_, {out, ldo}, {.bias = bias(), .residual = out});
}

at::Tensor Linear::of_zeros() const { return bias_.defined() ? bias_ : at::zeros({weight_.n()}); }

LayerNorm::LayerNorm(const WeightScope& scope, int64_t dim, float eps)
    : gamma_(scope.tensor("weight", {dim})), beta_(scope.tensor("bias", {dim})), eps_(eps) {}

void LayerNorm::operator()(int64_t rows, const float* x, float* out) const {
    const int64_t dim = gamma_.size(0);
    for (int64_t r = 0; r < rows; ++r)
        layer_norm(dim, x + r * dim, gamma(), beta(), eps_, out + r * dim);
}

FeedForward::FeedForward(const WeightScope& scope, int64_t in, int64_t hidden, int64_t out,
                         int64_t depth)
    : hidden_(hidden) {
    layers_.emplace_back(scope / "proj_in", in, hidden);
    for (int64_t i = 0; i < depth - 2; ++i)
        layers_.emplace_back(scope / "layers" / std::to_string(i), hidden, hidden);
    layers_.emplace_back(scope / "proj_out", hidden, out);
}

void FeedForward::operator()(int64_t rows, const float* x, int64_t ldx, float* out, int64_t ldo,
                             Arena& arena) const {
    const Arena::Lifetime scope(arena);
    for (std::size_t i = 0; i + 1 < layers_.size(); ++i) {
        float* h = arena.take<float>(rows * hidden_);
        layers_[i](rows, x, ldx, h, hidden_, Activation::Relu);
        x = h;
        ldx = hidden_;
    }
    layers_.back()(rows, x, ldx, out, ldo);
}

}  // namespace segrid
