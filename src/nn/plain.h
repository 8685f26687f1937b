// The layers of nn/ by their plain definitions, in basic ATen operations on any device, and their
// weights. Called on the thread of devices (loaded on any).
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/execution.h"
#include "core/thread_pool.h"
#include "kernels/gemm/op.h"
#include "nn/folded_convolution.h"
#include "weights/store.h"

namespace segrid::plain {

// A WeightScope whose tensors go to the device.
class Weights {
public:
    Weights(WeightScope scope, Placement placement)
        : scope_(std::move(scope)), placement_(placement) {}

    template <class Name>
    Weights operator/(const Name& name) const {
        return {scope_ / name, placement_};
    }
    bool has(const std::string& name) const { return scope_.has(name); }
    const WeightScope& scope() const { return scope_; }
    const Placement& placement() const { return placement_; }
    // The same place with another type.
    Weights in(at::ScalarType type) const { return {scope_, {placement_.device, type}}; }

    at::Tensor tensor(const std::string& name, const std::vector<int64_t>& shape) const {
        return place(scope_.tensor(name, shape));
    }
    // Places a tensor that was computed in fp32 from several of them.
    at::Tensor place(const at::Tensor& value) const;

private:
    WeightScope scope_;
    Placement placement_;
};

class Linear {
public:
    Linear() = default;
    Linear(const Weights& weights, int64_t in, int64_t out, bool bias = true);
    Linear(at::Tensor weight, at::Tensor bias)
        : weight_(std::move(weight)), bias_(std::move(bias)) {}
    at::Tensor operator()(const at::Tensor& x) const;  // [..., in], of at most 4 dimensions

private:
    at::Tensor weight_, bias_;  // [out, in], [out] or undefined
};

class LayerNorm {
public:
    LayerNorm() = default;
    LayerNorm(const Weights& weights, int64_t dim, float eps);
    at::Tensor operator()(const at::Tensor& x) const;  // over the last dimension

private:
    at::Tensor gamma_, beta_;
    float eps_ = 1e-6F;
};

// W2 act(W1 norm(x) + b1) + b2
class NormedMlp {
public:
    NormedMlp() = default;
    NormedMlp(const Weights& norm, const Weights& in, const Weights& out, int64_t dim,
              int64_t hidden, float eps, Activation activation = Activation::Gelu);
    at::Tensor operator()(const at::Tensor& x) const;

private:
    LayerNorm norm_;
    Linear in_, out_;
    Activation activation_ = Activation::Gelu;
};

// transformers' SamFeedForward.
class FeedForward {
public:
    FeedForward() = default;
    FeedForward(const Weights& weights, int64_t in, int64_t hidden, int64_t out, int64_t depth);
    at::Tensor operator()(at::Tensor x) const;

private:
    std::vector<Linear> layers_;
};

at::Tensor activate(Activation activation, const at::Tensor& x);

// x: [batch, channels, h, w]. Never in TF32, whatever cuDNN is allowed elsewhere.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       int64_t stride, int64_t padding, int64_t groups = 1);

// A convolution with the BatchNorm that follows it folded in. in: all input channels.
class NormedConvolution {
public:
    NormedConvolution() = default;
    NormedConvolution(const Weights& weights, int64_t in, int64_t out, int64_t kernel,
                      int64_t stride, int64_t groups = 1);
    NormedConvolution(const Weights& place, const FoldedConvolution& folded, int64_t stride,
                      int64_t groups = 1);
    at::Tensor operator()(const at::Tensor& x) const;  // [images, channels, h, w]

private:
    at::Tensor weight_, bias_;
    int64_t stride_ = 1, groups_ = 1;
};

// [batch, tokens, n heads d] -> [batch, n, tokens, d] and back.
at::Tensor split_heads(const at::Tensor& x, int64_t heads);
at::Tensor merge_heads(const at::Tensor& x);

// softmax(q k^T scale + bias) v per head. q: [batch, heads, queries, d]; k, v: [batch, heads, keys,
// d]. bias: broadcasts to [batch, heads, queries, keys], or undefined. Nothing of size queries x
// keys is kept where the device has a fused kernel.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                  const at::Tensor& bias = {});

// [images, side, side, channels] in windows [windows of all images, window * window, channels],
// filled with zeros behind the edge; and back, cut to side.
at::Tensor to_windows(const at::Tensor& x, int64_t window);
at::Tensor from_windows(const at::Tensor& x, int64_t window, int64_t side);

// Images [images, h, w, channels] with their channels first, and back. Both are contiguous.
at::Tensor channels_first(const at::Tensor& x);
at::Tensor channels_last(const at::Tensor& x);

// The largest of 2 x 2 neighbours. x: [batch, h, w, channels]
at::Tensor pool_by_two(const at::Tensor& x);

// Throws Unsupported, naming `what` and the type: half has no numbers above 65504.
[[noreturn]] void not_finite(const std::string& what, at::ScalarType type);
// That, where a value is NaN or Inf.
void check_finite(const at::Tensor& x, const std::string& what);

// The result as the CPU has it: fp32, contiguous.
at::Tensor on_host(const at::Tensor& x);

}  // namespace segrid::plain
