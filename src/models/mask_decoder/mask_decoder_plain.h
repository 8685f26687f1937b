// The plain definition of the mask decoder that all SAM families share, for many prompts at once.
// The figures are in mask_decoder.h and two_way_transformer.h.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/mask_decoder/mask_decoder.h"
#include "models/mask_decoder/prompt_encoder.h"
#include "models/model_input.h"
#include "nn/graphs.h"
#include "nn/plain.h"

namespace segrid::plain {

// Attention with its four projections, to `inner` dimensions and back. If queries or keys have a
// batch of 1, the whole batch of the other side shares them.
class Attention {
public:
    Attention() = default;
    Attention(const Weights& weights, int64_t dim, int64_t inner, int64_t heads, bool sam2_names);
    // [batch, tokens, dim] in and out.
    at::Tensor operator()(const at::Tensor& queries, const at::Tensor& keys,
                          const at::Tensor& values) const;

private:
    int64_t heads_ = 1;
    Linear q_, k_, v_, out_;
};

struct TwoWayLayer {
    TwoWayLayer(const Weights& weights, const mask_decoder::Shape& shape);
    Attention self, read, update;  // tokens to tokens, tokens to image, image to tokens
    LayerNorm norm1, norm2, norm3, norm4;
    Linear mlp1, mlp2;
};

// Maps mask hints to an embedding for each image token: [prompts, h, w] -> [prompts, tokens, dim].
class MaskEmbedding {
public:
    MaskEmbedding(const Weights& weights, const mask_decoder::PromptShape& shape);
    at::Tensor operator()(const at::Tensor& hints) const;

private:
    at::Tensor conv1_, bias1_, conv2_, bias2_, conv3_, bias3_;
    LayerNorm norm1_, norm2_;
};

// The data that decoding needs of one image; immutable.
struct ImageContext : DecoderContext {
    at::Tensor features;  // [1, tokens, dim]
    // SAM 2's high-resolution features, in the order of upscaling: [tokens, 4, dim / 4] and
    // [tokens, 16, dim / 8].
    at::Tensor half, quarter;
    std::vector<at::Tensor> tensors() const override { return {features, half, quarter}; }
};

class MaskDecoder {
public:
    MaskDecoder(const Weights& root, const mask_decoder::PromptShape& prompt,
                const mask_decoder::DecoderShape& shape);

    // To be called on the device thread; see SegmentationModel::decode_batch.
    DecodedBatch operator()(const ImageContext& image, const std::vector<ModelPrompt>& prompts,
                            const DecodeRequest& request, const at::Tensor& hints) const;
    Size grid() const { return {prompt_.grid, prompt_.grid}; }
    Size low_res() const { return {4 * prompt_.grid, 4 * prompt_.grid}; }
    int64_t bytes_per_prompt() const;

private:
    DecodedBatch any_batch(const ImageContext& image, const std::vector<ModelPrompt>& prompts,
                           const DecodeRequest& request, const at::Tensor& hints) const;
    // The same for prompts with equally many tokens. tokens: [prompts, outputs + count, dim].
    DecodedBatch equal_batch(const ImageContext& image, const at::Tensor& tokens,
                             const DecodeRequest& request, const at::Tensor& hints) const;
    // The output and prompt tokens, and the image tokens, after the two-way transformer.
    // features: [1, tokens, dim]; hints may be undefined.
    std::pair<at::Tensor, at::Tensor> transform(const at::Tensor& features,
                                                const at::Tensor& tokens,
                                                const at::Tensor& hints) const;
    // What is read of a batch before masks are chosen: its tokens and image tokens after the
    // transformer, its IoUs [prompts, masks], and its object scores [prompts, 1], undefined where
    // there are none.
    struct Read {
        at::Tensor tokens, keys, iou, objects;
    };
    Read read(const ImageContext& image, const at::Tensor& tokens, const at::Tensor& hints) const;
    // Logits [prompts, count, h, w] of the masks [first, first + count).
    at::Tensor upscale(const ImageContext& image, const at::Tensor& tokens, const at::Tensor& keys,
                       int64_t first, int64_t count) const;
    // Runs `compute` on shared inputs, and on inputs of `prompts` rows each. As a graph, if the
    // batch is small, whose rows may be more than there are prompts; they must be cut off. The
    // results live until the next call.
    Graphs::Tensors launch(const std::string& name, int64_t prompts, Graphs::Tensors shared,
                           const Graphs::Tensors& own, const Graphs::Compute& compute) const;
    int64_t iou_token() const { return shape_.object_score ? 1 : 0; }
    int64_t mask_token(int64_t m) const { return iou_token() + 1 + m; }

    mask_decoder::PromptShape prompt_;
    mask_decoder::DecoderShape shape_;
    Placement placement_;
    mask_decoder::PromptEncoder prompts_;
    MaskEmbedding mask_;
    at::Tensor no_mask_, position_;  // [dim], [1, tokens, dim]
    at::Tensor output_tokens_;  // [outputs, dim], on the CPU, where the prompts' tokens are made
    std::vector<TwoWayLayer> layers_;
    Attention final_read_;
    LayerNorm final_norm_, upscale_norm_;
    Linear upscale1_, upscale2_;
    std::vector<FeedForward> hypernetworks_;
    FeedForward iou_head_, object_head_;
    mutable Graphs graphs_;
};

}  // namespace segrid::plain
