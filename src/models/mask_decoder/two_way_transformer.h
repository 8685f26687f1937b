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

// What all prompts of an image share: the image sides of all attentions, and the first convolution
// of the upscaling.
struct SharedImage {
    std::vector<SharedSide> reads;    // of every layer, then of the last read
    std::vector<SharedSide> updates;  // of every layer
    at::Tensor first;                 // [count, 4 c1]: of the last x0 T, without bias
    at::Tensor first_bias;            // [4 c1]: of the last beta, with the bias
};

// The image as the transformer reads it. A prompt with a mask hint has its own keys and no shared
// sides.
struct ImageTokens {
    const float* keys = nullptr;      // [count, dim]
    const float* position = nullptr;  // [count, dim]
    int64_t count = 0;
    const SharedImage* shared = nullptr;
};

// The image tokens after the last layer: as they are, or, if `shared` is set, as x0 T, weights and
// basis give them (kernels/two_way/op.h).
struct FinalKeys {
    float* keys = nullptr;  // [count, dim]; null if `shared` is set
    const SharedImage* shared = nullptr;
    UpdatedKeys updated;
    Basis basis;
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
    // position: of the image tokens, [grid area, dim].
    TwoWayTransformer(const WeightScope& scope, const Shape& shape, const at::Tensor& position);

    // Memory for the final keys of a prompt of `count` tokens.
    FinalKeys final_keys(const ImageTokens& image, int64_t count, Arena& arena) const;
    // tokens: [count, dim], all tokens before the first layer. On return, those whose indices are
    // in `wanted` are final; the others are not. Fills `final`, which is of final_keys(). Splits
    // over the pool; inside a worker only if the schedule shares. The bits are the same in every
    // case.
    void operator()(const ImageTokens& image, int64_t count, float* tokens,
                    const std::vector<int64_t>& wanted, FinalKeys& final, const Schedule& schedule,
                    Arena& arena) const;

    // Fills the image sides from keys, [grid area, dim]. Returns the last x0 T.
    at::Tensor share(const at::Tensor& keys, const Schedule& schedule, SharedImage& shared) const;
    const float* last_beta() const { return layers_.back().update_norm().beta(); }

private:
    TwoWayShape sweep_shape(int64_t count) const {
        return {.dim = shape_.dim, .heads = shape_.heads, .tokens = count};
    }

    Shape shape_;
    Precision precision_;
    at::Tensor position_;
    std::vector<TwoWayLayer> layers_;
    std::vector<KeyDeviation> deviations_;                // of every layer's update
    std::vector<FixedSide> fixed_reads_, fixed_updates_;  // as in SharedImage
    TokenToImage final_read_;
    LayerNorm final_norm_;
};

}  // namespace segrid::mask_decoder
