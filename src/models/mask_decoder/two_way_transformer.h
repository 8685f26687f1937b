// The two-way transformer of SAM's mask decoder (figure 14). In each layer the tokens attend to
// each other, read the image and pass an MLP; then the image reads the tokens. After the last layer
// the tokens read the image once more.
#pragma once

#include <vector>

#include "models/mask_decoder/cross_attention.h"

namespace segrid::mask_decoder {

// The sizes of the transformer, which all families have.
struct Shape {
    int64_t dim = 256, layers = 2, heads = 8, mlp = 2048, downsample = 2;
    float eps = 1e-6F;
    // Whether tensors have SAM 2's names: o_proj instead of out_proj, mlp.proj_in and mlp.proj_out
    // instead of mlp.lin1 and mlp.lin2.
    bool sam2_names = false;
};

// The image as the transformer reads it. All prompts share it, except that a prompt with a mask
// hint has its own keys and no shared sides.
struct ImageTokens {
    const float* keys = nullptr;      // [count, dim]
    const float* position = nullptr;  // [count, dim]
    int64_t count = 0;
    const SharedSide* read = nullptr;    // of layer 1's token-to-image attention, or null
    const SharedSide* update = nullptr;  // of layer 1's image-to-token attention, or null
};

class TwoWayLayer {
public:
    TwoWayLayer(const WeightScope& scope, const Shape& shape, bool first);

    // The steps before the tokens read the image: q = norm(q + self_attention(q)).
    void begin(int64_t tokens, float* q, const float* position, Arena& arena) const;
    // The steps after the read: norm, MLP, norm.
    void end(int64_t tokens, float* q, Arena& arena) const;

    const TokenToImage& read() const { return read_; }
    const ImageToToken& update() const { return update_; }
    const LayerNorm& update_norm() const { return norm4_; }

private:
    TwoWayLayer(const WeightScope& scope, const WeightScope& exact, const Shape& shape, bool first);

    int64_t dim_, mlp_;
    bool first_;
    SelfAttention self_;
    LayerNorm norm1_, norm2_, norm3_, norm4_;
    Linear mlp1_, mlp2_;
    TokenToImage read_;
    ImageToToken update_;
};

class TwoWayTransformer {
public:
    TwoWayTransformer(const WeightScope& scope, const Shape& shape);

    // tokens: [count, dim], all tokens before the first layer. On return, those whose indices are
    // in `wanted` are final; the others are not. keys_out: [image.count, dim], receives the final
    // image tokens. Splits over the pool; inside a worker only if the schedule shares. The bits are
    // the same in every case.
    void operator()(const ImageTokens& image, int64_t count, float* tokens,
                    const std::vector<int64_t>& wanted, float* keys_out, const Schedule& schedule,
                    Arena& arena) const;

    // The projections of layer 1 that all prompts of an image share. placed: keys with positions
    // added.
    SharedSide share_read(const at::Tensor& keys, const at::Tensor& placed,
                          const Schedule& schedule) const;
    SharedSide share_update(const at::Tensor& placed, const Schedule& schedule) const;

private:
    Shape shape_;
    Precision precision_;
    std::vector<TwoWayLayer> layers_;
    TokenToImage final_read_;
    LayerNorm final_norm_;
};

}  // namespace segrid::mask_decoder
