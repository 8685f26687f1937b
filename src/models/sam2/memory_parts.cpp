#include "models/sam2/memory_parts.h"

#include <ATen/ATen.h>

#include "models/sam2/memory_attention_plain.h"

namespace segrid::sam2 {
namespace {

// Sines, then cosines, of ages in 0..1: [ages, channels] in fp32 on the CPU.
at::Tensor sine_ages(const std::vector<RememberedPointer>& pointers, int64_t channels) {
    at::Tensor ages = at::empty({static_cast<int64_t>(pointers.size()), 1});
    for (std::size_t i = 0; i < pointers.size(); ++i)
        ages[static_cast<int64_t>(i)] = pointers[i].age;
    const at::Tensor angle = ages / plain::wave_periods(channels / 2);
    return at::cat({angle.sin(), angle.cos()}, 1);
}

}  // namespace

MemoryParts::MemoryParts(const plain::Weights& root, const MemoryConfig& c)
    : dim_(c.dim),
      channels_(c.encoder.channels),
      grid_(c.grid),
      pooling_(c.pooling),
      pointer_bias_(c.pointer_bias()),
      scale_(c.encoder.scale),
      bias_(c.encoder.bias),
      placement_(root.placement()),
      places_(root.place(
          at::cat({at::zeros({c.unplaced, channels_}),
                   pooled(plain::sine_positions(c.memory_grid * c.pooling, channels_))}))),
      ages_(root.tensor("memory_temporal_positional_encoding", {c.rules.frames, 1, 1, channels_})
                .view({c.rules.frames, channels_})),
      pointer_(root / "object_pointer_proj", c.dim, c.dim, c.dim, 3),
      pointer_times_(c.pointer_times),
      no_pointer_(root.tensor("no_object_pointer", {1, c.dim}).view({c.dim})),
      hint_weight_(root.tensor("mask_downsample.weight", {1, 1, 4, 4})),
      hint_bias_(root.tensor("mask_downsample.bias", {1})) {
    // Published files hold it, and no model uses it.
    root.tensor("no_memory_positional_encoding", {1, 1, c.dim});
    if (pointer_times_)
        pointer_ages_ =
            plain::Linear(root / "temporal_positional_encoding_projection_layer", c.dim, channels_);
    if (c.occlusion)
        occluded_ = root.tensor("occlusion_spatial_embedding_parameter", {1, channels_});
}

at::Tensor MemoryParts::pooled(const at::Tensor& tokens) const {
    if (pooling_ == 1) return tokens;
    return tokens.view({grid_ / pooling_, pooling_, grid_ / pooling_, pooling_, -1})
        .mean({1, 3})
        .flatten(0, 1);
}

at::Tensor MemoryParts::age(int64_t frames) const {
    // The last encoding is that of frames that the user prompted.
    return ages_[frames == 0 ? ages_.size(0) - 1 : frames - 1];
}

at::Tensor MemoryParts::pointer(const at::Tensor& token, bool appears) const {
    if (!appears) return no_pointer_;
    return pointer_(token.to(placement_.device, placement_.type).unsqueeze(0)).squeeze(0);
}

at::Tensor MemoryParts::hint_of(const at::Tensor& mask) const {
    const at::Tensor square = mask.to(placement_.device, placement_.type).unsqueeze(0).unsqueeze(0);
    return plain::convolution(square, hint_weight_, hint_bias_, 4, 0)
        .squeeze(0)
        .squeeze(0)
        .to(at::kFloat);
}

MemoryParts::PointerTokens MemoryParts::pointer_tokens(
    const std::vector<RememberedPointer>& pointers) const {
    std::vector<at::Tensor> all;
    for (const RememberedPointer& p : pointers)
        all.push_back(p.pointer.to(placement_.device, placement_.type));
    const at::Tensor values = at::stack(all).view({-1, channels_});
    if (!pointer_times_) return {values, at::zeros_like(values)};
    const at::Tensor ages = sine_ages(pointers, dim_).to(placement_.device, placement_.type);
    return {values, pointer_ages_(ages).repeat_interleave(dim_ / channels_, 0)};
}

at::Tensor MemoryParts::encoder_input(const at::Tensor& mask, bool from_prompt) const {
    const at::Tensor logits = mask.to(placement_.device);
    const at::Tensor share = from_prompt ? (logits > 0).to(at::kFloat) : at::sigmoid(logits);
    return (share * scale_ + bias_).to(placement_.type);
}

}  // namespace segrid::sam2
