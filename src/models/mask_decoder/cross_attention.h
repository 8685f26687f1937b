// Attention between the prompt tokens (few) and the image tokens (many), with the image side folded
// into the token side; kernels/two_way/op.h has the algebra. Both directions have the same four
// projections, with the roles exchanged.
#pragma once

#include "core/thread_pool.h"
#include "kernels/two_way/op.h"
#include "models/mask_decoder/key_deviation.h"
#include "nn/layers.h"

namespace segrid::mask_decoder {

// Self-attention of the prompt tokens.
class SelfAttention {
public:
    SelfAttention() = default;
    SelfAttention(const WeightScope& scope, int64_t dim, int64_t heads, bool sam2_names);
    // out[t] = attention(q = k = queries, v = values). All are rows of dim floats.
    void operator()(int64_t tokens, const float* queries, const float* values, float* out,
                    Arena& arena) const;

private:
    int64_t dim_ = 0, heads_ = 0;
    Linear q_, k_, v_, out_;
};

// What positions, the last update's beta and the bias add to an attention's projections of updated
// keys: the same for every image, so that it is computed once.
struct FixedSide {
    at::Tensor scores{};  // [keys, inner]
    at::Tensor values{};  // [inner] (token-to-image only)
};

// The image side of one attention, projected once per image.
struct SharedSide {
    at::Tensor scores{};  // [keys, inner]: projected image queries or keys
    at::Tensor values{};  // [keys, inner]: projected image values (token-to-image only)
    // The members below are defined where keys have been updated: then scores and values are those
    // of x0 T, without bias (kernels/two_way/op.h).
    FixedSide fixed{};
    SharedDeviation deviation{};  // of the keys (image-to-token only)
};

// The rows B of kernels/two_way/op.h: what the weights of updated keys are multiplied by.
struct Basis {
    float* rows = nullptr;  // [count, dim], with room for those of all updates; null: not kept
    int64_t count = 0;
    const float* beta = nullptr;   // of the last update, or null
    std::vector<Factor> values{};  // of each update: Deviation::values
};

// The keys of an image as its attentions see them after some updates.
struct KeysOfImage {
    at::Tensor keys;    // x0 T
    at::Tensor placed;  // with positions added; undefined after an update
};

// Token-to-image attention: prompt tokens are the queries, image tokens are the keys and values.
class TokenToImage {
public:
    TokenToImage() = default;
    TokenToImage(const WeightScope& scope, int64_t dim, int64_t downsample, bool sam2_names);

    // placed: positions + beta of the last update, [keys, dim].
    FixedSide fix(const at::Tensor& placed, const at::Tensor& beta, const Schedule& schedule) const;
    // Projects the image side for all prompts. fixed: of fix(), after an update.
    SharedSide share(const KeysOfImage& image, const FixedSide& fixed,
                     const Schedule& schedule) const;
    // Prepares the read from rows of queries with positions added. They are folded, or arranged in
    // blocks if the image side is shared.
    TokenRead fold(TwoWayShape shape, const float* queries, const SharedSide* shared,
                   const Basis& basis, Arena& arena) const;
    // out += Wo concat_h(Wv_h acc_h / sum + bv_h) + bo. shared, basis: as in fold.
    void finish(const TokenRead& read, const TokenPartial& partial, const SharedSide* shared,
                const Basis& basis, float* out, Arena& arena) const;

private:
    int64_t dim_ = 0, inner_ = 0;
    Precision precision_ = Precision::Fp32;
    Linear q_, k_, v_, out_;
    at::Tensor wk_;    // [inner, dim]
    at::Tensor wv_t_;  // [dim, inner]
};

// Image-to-token attention: image tokens are the queries, prompt tokens are the keys and values.
class ImageToToken {
public:
    ImageToToken() = default;
    ImageToToken(const WeightScope& scope, int64_t dim, int64_t downsample, bool sam2_names);

    // These are as in TokenToImage.
    FixedSide fix(const at::Tensor& placed, const Schedule& schedule) const;
    SharedSide share(const KeysOfImage& image, const FixedSide& fixed,
                     const Schedule& schedule) const;
    // Prepares the update. keys: token rows with positions added. values: token rows. norm: the
    // LayerNorm after the residual. On return the basis is that of the updated keys.
    ImageUpdate fold(TwoWayShape shape, const float* keys, const float* values,
                     const SharedSide* shared, const LayerNorm& norm, Basis& basis,
                     Arena& arena) const;

    const at::Tensor& output() const { return wo_t_; }  // [inner, dim]
    const at::Tensor& output_bias() const { return bo_; }

private:
    int64_t dim_ = 0, inner_ = 0;
    Precision precision_ = Precision::Fp32;
    Linear q_, k_, v_;
    at::Tensor wq_;    // [inner, dim]
    at::Tensor wo_t_;  // [inner, dim]
    at::Tensor bo_;    // [dim]
};

}  // namespace segrid::mask_decoder
