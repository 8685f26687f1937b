#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/fresh_tensor.h"
#include "core/trace.h"
#include "models/edgetam/repvit.h"

namespace segrid::edgetam {
namespace {

Linear pointwise(const WeightScope& s, int64_t in, int64_t out) {
    return FoldedConvolution(s, in, out, 1).pointwise(s.encoder_linears().precision());
}

DepthwiseConvolution depthwise(const FoldedConvolution& folded, int64_t stride) {
    return {folded.weight, folded.bias, stride};
}

Linear one_by_one(const WeightScope& s, int64_t in, int64_t out) {
    return {s.tensor("weight", {out, in, 1, 1}).view({out, in}), s.tensor("bias", {out}),
            Precision::Fp32};
}

}  // namespace

FoldedConvolution token_mixer(const WeightScope& s, int64_t channels, bool norm_per_branch) {
    const FoldedConvolution square(s / "conv", 1, channels, 3);
    const WeightScope name = s / "conv1";
    const FoldedConvolution point =
        norm_per_branch ? FoldedConvolution(name, 1, channels, 1)
                        : FoldedConvolution(name.tensor("weight", {channels, 1, 1, 1}),
                                            name.tensor("bias", {channels}));
    const FoldedConvolution sum(
        square.weight + at::constant_pad_nd(point.weight + 1, {1, 1, 1, 1}, 0),
        square.bias + point.bias);
    return norm_per_branch ? sum : sum.normed(s / "bn");
}

PointwiseMlp::PointwiseMlp(const WeightScope& s, int64_t dim, int64_t hidden)
    : dim_(dim),
      hidden_(hidden),
      in_(pointwise(s / "conv1", dim, hidden)),
      out_(pointwise(s / "conv2", hidden, dim)) {}

void PointwiseMlp::operator()(int64_t rows, float* x, Arena& arena) const {
    float* middle = arena.take<float>(rows * hidden_);
    in_(rows, x, dim_, middle, hidden_, Activation::Gelu);
    out_.add_to(rows, middle, hidden_, x, dim_);
}

Gate::Gate(const WeightScope& s, int64_t channels)
    : channels_(channels),
      in_(one_by_one(s / "fc1", channels, squeezed(channels))),
      out_(one_by_one(s / "fc2", squeezed(channels), channels)) {}

void Gate::operator()(const float* mean, float* factors, Arena& arena) const {
    const int64_t narrow = squeezed(channels_);
    float* middle = arena.take<float>(narrow);
    in_(1, mean, channels_, middle, narrow, Activation::Relu);
    out_(1, middle, narrow, factors, channels_);
    for (int64_t i = 0; i < channels_; ++i) factors[i] = 1 / (1 + std::exp(-factors[i]));
}

Block::Block(const WeightScope& s, const RepVitConfig& c, std::size_t stage, bool gated)
    : side_(c.grid(stage)),
      dim_(c.dims[stage]),
      mixer_(depthwise(token_mixer(s / "token_mixer", dim_, c.norm_per_branch), 1)),
      mlp_(s / "channel_mixer", dim_, c.mlp_ratio * dim_) {
    if (gated) gate_.emplace(s / "se", dim_);
}

at::Tensor Block::factors(const at::Tensor& sums, const Schedule& schedule) const {
    at::Tensor result = at::empty({dim_});
    run_in_worker(schedule, [&] {
        const at::Tensor mean = sums.sum(0) / static_cast<double>(side_ * side_);
        Arena arena;
        (*gate_)(mean.const_data_ptr<float>(), result.mutable_data_ptr<float>(), arena);
    });
    return result;
}

at::Tensor Block::operator()(const at::Tensor& input, const Schedule& schedule) const {
    const int64_t width = side_ * dim_;
    at::Tensor output = fresh_tensor({side_ * side_, dim_}), sums;
    if (gate_) sums = at::zeros({side_, dim_});
    const float* x = input.const_data_ptr<float>();
    float* out = output.mutable_data_ptr<float>();
    float* of_rows = gate_ ? sums.mutable_data_ptr<float>() : nullptr;
    parallel_for(side_, schedule, [&](int64_t y, Worker& worker) {
        const Span span("mixer", y);
        float* row = out + y * width;
        mixer_(rows_around(x, side_, width, y, 3).data(), side_, row);
        if (!gate_) return mlp_(side_, row, worker.arena);
        for (int64_t i = 0; i < side_; ++i)
            add(dim_, of_rows + y * dim_, row + i * dim_, of_rows + y * dim_);
    });
    if (!gate_) return output;
    const at::Tensor gate = factors(sums, schedule);
    const float* factor = gate.const_data_ptr<float>();
    parallel_for(side_, schedule, [&](int64_t y, Worker& worker) {
        const Span span("gated mlp", y);
        float* row = out + y * width;
        for (int64_t i = 0; i < side_; ++i) {
            for (int64_t j = 0; j < dim_; ++j) row[i * dim_ + j] *= factor[j];
        }
        mlp_(side_, row, worker.arena);
    });
    return output;
}

Downsampling::Downsampling(const WeightScope& s, const RepVitConfig& c, std::size_t stage)
    : side_(c.grid(stage - 1)),
      in_(c.dims[stage - 1]),
      out_(c.dims[stage]),
      before_(s / "pre_block", c, stage - 1, /*gated=*/false),
      spatial_(depthwise(FoldedConvolution(s / "spatial_downsample", 1, in_, 3), 2)),
      widen_(pointwise(s / "channel_downsample", in_, out_)),
      mlp_(s / "ffn", out_, c.mlp_ratio * out_) {}

at::Tensor Downsampling::operator()(const at::Tensor& input, const Schedule& schedule) const {
    const int64_t half = side_ / 2;
    const at::Tensor mixed = before_(input, schedule);
    at::Tensor output = fresh_tensor({half * half, out_});
    const float* x = mixed.const_data_ptr<float>();
    float* out = output.mutable_data_ptr<float>();
    parallel_for(half, schedule, [&](int64_t y, Worker& worker) {
        const Span span("downsampling", y);
        float* narrow = worker.arena.take<float>(half * in_);
        float* row = out + y * half * out_;
        spatial_(rows_around(x, side_, side_ * in_, 2 * y, 3).data(), side_, narrow);
        widen_(half, narrow, in_, row, out_);
        mlp_(half, row, worker.arena);
    });
    return output;
}

}  // namespace segrid::edgetam
