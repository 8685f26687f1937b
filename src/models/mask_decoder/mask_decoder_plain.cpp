#include "models/mask_decoder/mask_decoder_plain.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "kernels/mask_scan/batch.h"

namespace segrid::plain {
namespace {

// A transposed 2x2 convolution of stride 2 as a Linear: from a token's channels to [its four
// pixels, row by row][channels].
Linear by_four(const Weights& w, int64_t in, int64_t out) {
    return {w.place((w.scope())
                        .tensor("weight", {in, out, 2, 2})
                        .permute({2, 3, 1, 0})
                        .reshape({4 * out, in})),
            w.place(w.scope().tensor("bias", {out}).repeat({4}))};
}

std::vector<float> floats(const at::Tensor& x) {
    const at::Tensor host = on_host(x);
    return {host.const_data_ptr<float>(), host.const_data_ptr<float>() + host.numel()};
}

}  // namespace

Attention::Attention(const Weights& w, int64_t dim, int64_t inner, int64_t heads, bool sam2_names)
    : heads_(heads),
      q_(w / "q_proj", dim, inner),
      k_(w / "k_proj", dim, inner),
      v_(w / "v_proj", dim, inner),
      out_(w / (sam2_names ? "o_proj" : "out_proj"), inner, dim) {}

at::Tensor Attention::operator()(const at::Tensor& queries, const at::Tensor& keys,
                                 const at::Tensor& values) const {
    const int64_t batch = std::max(queries.size(0), keys.size(0));
    at::Tensor q = q_(queries);
    const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2) / heads_));
    const at::Tensor k = split_heads(k_(keys), heads_), v = split_heads(v_(values), heads_);
    if (queries.size(0) > keys.size(0)) {  // the keys are shared: one long sequence of queries
        q = q.reshape({1, batch * queries.size(1), q.size(2)});
        return out_(merge_heads(attend(split_heads(q, heads_), k, v, scale))
                        .view({batch, queries.size(1), -1}));
    }
    if (queries.size(0) < batch) q = q.expand({batch, -1, -1}).contiguous();
    return out_(merge_heads(attend(split_heads(q, heads_), k, v, scale)));
}

TwoWayLayer::TwoWayLayer(const Weights& w, const mask_decoder::Shape& c)
    : self(w / "self_attn", c.dim, c.dim, c.heads, c.sam2_names),
      read(w / "cross_attn_token_to_image", c.dim, c.dim / c.downsample, c.heads, c.sam2_names),
      update(w / "cross_attn_image_to_token", c.dim, c.dim / c.downsample, c.heads, c.sam2_names),
      norm1(w / "layer_norm1", c.dim, c.eps),
      norm2(w / "layer_norm2", c.dim, c.eps),
      norm3(w / "layer_norm3", c.dim, c.eps),
      norm4(w / "layer_norm4", c.dim, c.eps),
      mlp1(w / "mlp" / (c.sam2_names ? "proj_in" : "lin1"), c.dim, c.mlp),
      mlp2(w / "mlp" / (c.sam2_names ? "proj_out" : "lin2"), c.mlp, c.dim) {}

MaskEmbedding::MaskEmbedding(const Weights& w, const mask_decoder::PromptShape& shape) {
    const int64_t wide = shape.mask_channels, narrow = wide / 4;
    conv1_ = (w / "conv1").tensor("weight", {narrow, 1, 2, 2});
    bias1_ = (w / "conv1").tensor("bias", {narrow});
    conv2_ = (w / "conv2").tensor("weight", {wide, narrow, 2, 2});
    bias2_ = (w / "conv2").tensor("bias", {wide});
    conv3_ = (w / "conv3").tensor("weight", {shape.dim, wide, 1, 1});
    bias3_ = (w / "conv3").tensor("bias", {shape.dim});
    norm1_ = LayerNorm(w / "layer_norm1", narrow, shape.eps);
    norm2_ = LayerNorm(w / "layer_norm2", wide, shape.eps);
}

at::Tensor MaskEmbedding::operator()(const at::Tensor& hints) const {
    const auto normed = [](const LayerNorm& norm, const at::Tensor& x) {  // over channels
        return at::gelu(norm(x.permute({0, 2, 3, 1}).contiguous()))
            .permute({0, 3, 1, 2})
            .contiguous();
    };
    at::Tensor x = normed(
        norm1_, convolution(hints.unsqueeze(1).to(conv1_.scalar_type()), conv1_, bias1_, 2, 0));
    x = normed(norm2_, convolution(x, conv2_, bias2_, 2, 0));
    return convolution(x, conv3_, bias3_, 1, 0).flatten(2).transpose(1, 2);
}

MaskDecoder::MaskDecoder(const Weights& root, const mask_decoder::PromptShape& prompt,
                         const mask_decoder::DecoderShape& shape)
    : prompt_(prompt),
      shape_(shape),
      placement_(root.placement()),
      prompts_(root.scope() / "prompt_encoder", prompt,
               mask_decoder::positional_gaussian(root.scope(), prompt.dim)),
      mask_(root / "prompt_encoder" / "mask_embed", prompt) {
    const mask_decoder::Shape& c = shape.transformer;
    const Weights w = root / "mask_decoder", transformer = w / "transformer";
    no_mask_ = root.place(prompts_.no_mask());
    position_ = root.place(mask_decoder::PositionEncoding(
                               mask_decoder::positional_gaussian(root.scope(), prompt.dim))
                               .grid(prompt.grid, prompt.grid))
                    .unsqueeze(0);
    std::vector<at::Tensor> outputs;
    if (shape.object_score) {
        outputs.push_back((w / "obj_score_token").scope().tensor("weight", {1, c.dim}));
        object_head_ = FeedForward(w / "pred_obj_score_head", c.dim, c.dim, 1, 3);
    }
    outputs.push_back((w / "iou_token").scope().tensor("weight", {1, c.dim}));
    outputs.push_back((w / "mask_tokens").scope().tensor("weight", {shape.masks, c.dim}));
    output_tokens_ = at::cat(outputs);
    for (int64_t i = 0; i < c.layers; ++i) layers_.emplace_back(transformer / "layers" / i, c);
    final_read_ = Attention(transformer / "final_attn_token_to_image", c.dim, c.dim / c.downsample,
                            c.heads, c.sam2_names);
    final_norm_ = LayerNorm(transformer / "layer_norm_final_attn", c.dim, 1e-5F);
    upscale1_ = by_four(w / "upscale_conv1", c.dim, c.dim / 4);
    upscale_norm_ = LayerNorm(w / "upscale_layer_norm", c.dim / 4, 1e-6F);
    upscale2_ = by_four(w / "upscale_conv2", c.dim / 4, c.dim / 8);
    for (int64_t m = 0; m < shape.masks; ++m)
        hypernetworks_.emplace_back(w / "output_hypernetworks_mlps" / m, c.dim, c.dim, c.dim / 8,
                                    3);
    iou_head_ = FeedForward(w / "iou_prediction_head", c.dim, shape.iou_hidden, shape.masks,
                            shape.iou_depth);
}

int64_t MaskDecoder::bytes_per_prompt() const {
    const int64_t tokens = grid().area(),
                  keys = tokens * shape_.transformer.dim *
                         static_cast<int64_t>(c10::elementSize(placement_.type));
    return 16 * keys + 16 * tokens * shape_.masks * static_cast<int64_t>(2 * sizeof(float));
}

Graphs::Tensors MaskDecoder::launch(const std::string& name, int64_t prompts,
                                    Graphs::Tensors shared, const Graphs::Tensors& own,
                                    const Graphs::Compute& compute) const {
    const int64_t bucket = Graphs::bucket(placement_.device, prompts);
    for (const at::Tensor& x : own) {
        if (!x.defined() || bucket <= prompts) {
            shared.push_back(x);
            continue;
        }
        std::vector<int64_t> sizes = x.sizes().vec();
        sizes[0] = bucket - prompts;
        shared.push_back(at::cat({x, x.narrow(0, 0, 1).expand(sizes)}));
    }
    return bucket == 0 ? compute(shared) : graphs_(name, shared, compute);
}

std::pair<at::Tensor, at::Tensor> MaskDecoder::transform(const at::Tensor& features,
                                                         const at::Tensor& tokens,
                                                         const at::Tensor& hints) const {
    at::Tensor keys = features + (hints.defined() ? mask_(hints) : no_mask_), q = tokens;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const TwoWayLayer& layer = layers_[i];
        // The self-attention of the first layer has no positions and no residual.
        q = layer.norm1(i == 0 ? layer.self(q, q, q) : q + layer.self(q + tokens, q + tokens, q));
        q = layer.norm2(q + layer.read(q + tokens, keys + position_, keys));
        q = layer.norm3(q + layer.mlp2(at::relu(layer.mlp1(q))));
        keys = layer.norm4(keys + layer.update(keys + position_, q + tokens, q));
    }
    return {final_norm_(q + final_read_(q + tokens, keys + position_, keys)), keys};
}

MaskDecoder::Read MaskDecoder::read(const ImageContext& image, const at::Tensor& tokens,
                                    const at::Tensor& hints) const {
    const int64_t count = tokens.size(0);
    Graphs::Tensors all =
        launch("read", count, {image.features}, {tokens, hints}, [this](const Graphs::Tensors& in) {
            const auto [answers, keys] = transform(in[0], in[1], in[2]);
            at::Tensor iou = iou_head_(answers.select(1, iou_token())).to(at::kFloat), objects;
            if (shape_.sigmoid_iou) iou = at::sigmoid(iou);
            if (shape_.object_score) objects = object_head_(answers.select(1, 0));
            return Graphs::Tensors{answers, keys, iou, objects};
        });
    for (at::Tensor& x : all)
        if (x.defined()) x = x.narrow(0, 0, count);
    return {all[0], all[1], all[2], all[3]};
}

at::Tensor MaskDecoder::upscale(const ImageContext& image, const at::Tensor& answers,
                                const at::Tensor& image_tokens, int64_t first,
                                int64_t count) const {
    const std::string name = "upscale " + std::to_string(first) + " " + std::to_string(count);
    const auto compute = [this, first, count](const Graphs::Tensors& in) {
        const at::Tensor &half = in[0], &quarter = in[1], &tokens = in[2], &keys = in[3];
        const int64_t prompts = keys.size(0), side = prompt_.grid, dim = shape_.transformer.dim,
                      area = side * side;
        at::Tensor x = upscale1_(keys).view({prompts, area, 4, dim / 4});
        if (half.defined()) x = x + half;
        x = upscale2_(at::gelu(upscale_norm_(x))).view({prompts, area, 16, dim / 8});
        if (quarter.defined()) x = x + quarter;
        std::vector<at::Tensor> weights;
        for (int64_t m = first; m < first + count; ++m)
            weights.push_back(
                hypernetworks_[static_cast<std::size_t>(m)](tokens.select(1, mask_token(m))));
        const at::Tensor products =
            at::matmul(at::gelu(x).view({prompts, 16 * area, dim / 8}), at::stack(weights, 2))
                .to(at::kFloat);
        // The order is (y, x, dy, dx, dy', dx', mask): the pixels of a token lie together.
        return Graphs::Tensors{products.view({prompts, side, side, 2, 2, 2, 2, count})
                                   .permute({0, 7, 1, 3, 5, 2, 4, 6})
                                   .reshape({prompts, count, 4 * side, 4 * side})};
    };
    const int64_t prompts = answers.size(0);
    const at::Tensor logits =
        launch(name, prompts, {image.half, image.quarter}, {answers, image_tokens}, compute)
            .front()
            .narrow(0, 0, prompts);
    // A graph's results live until the next call.
    return Graphs::bucket(placement_.device, prompts) == 0 ? logits : logits.clone();
}

DecodedBatch MaskDecoder::equal_batch(const ImageContext& image, const at::Tensor& tokens,
                                      const DecodeRequest& request, const at::Tensor& hints) const {
    const int64_t count = tokens.size(0), first = request.multimask ? 1 : 0,
                  wanted = request.multimask ? shape_.masks - 1 : 1;
    const bool dynamic = !request.multimask && shape_.dynamic_threshold > 0;
    const Read found = read(image, tokens, hints);
    const std::vector<float> predicted = floats(found.iou);
    if (!std::all_of(predicted.begin(), predicted.end(), [](float v) { return std::isfinite(v); }))
        not_finite("the mask decoder", placement_.type);
    const auto predicted_iou = [&](int64_t prompt, int64_t mask) {
        return predicted[static_cast<std::size_t>(prompt * shape_.masks + mask)];
    };
    std::vector<float> objects(static_cast<std::size_t>(count),
                               std::numeric_limits<float>::quiet_NaN());
    if (found.objects.defined() && request.object_score) objects = floats(found.objects);

    // A prompt is not upscaled if none of its masks passes the IoU threshold.
    std::vector<int64_t> rows, picked;
    DecodedBatch out;
    for (int64_t p = 0; p < count; ++p) {
        const auto before = out.masks.size();
        for (int64_t m = 0; m < wanted; ++m) {
            if (!dynamic && !(predicted_iou(p, first + m) > request.iou_above)) continue;
            picked.push_back(static_cast<int64_t>(rows.size()) * wanted + m);
            out.masks.push_back({.prompt = p,
                                 .number = m,
                                 .iou = predicted_iou(p, first + m),
                                 .object_score = objects[static_cast<std::size_t>(p)]});
        }
        if (out.masks.size() > before) rows.push_back(p);
    }
    if (rows.empty()) {
        out.logits =
            at::empty({0, low_res().height, low_res().width}, at::TensorOptions(placement_.device));
        return out;
    }
    const bool all = static_cast<int64_t>(rows.size()) == count;
    const auto of_rows = [&](const at::Tensor& x) {
        return all ? x : x.index_select(0, on_device(rows, placement_.device));
    };
    const at::Tensor own = of_rows(found.tokens), of_image = of_rows(found.keys);
    // If `dynamic`, this is the token of the single mask: one row per prompt.
    if (request.tokens)
        out.tokens = own.narrow(1, mask_token(first), wanted).clone().flatten(0, 1).to(at::kFloat);
    if (!dynamic) {
        out.logits = upscale(image, own, of_image, first, wanted).flatten(0, 1);
        if (static_cast<int64_t>(picked.size()) < out.logits.size(0)) {
            const at::Tensor chosen = on_device(picked, placement_.device);
            out.logits = out.logits.index_select(0, chosen);
            if (request.tokens) out.tokens = out.tokens.index_select(0, chosen);
        }
        return out;
    }
    // A single mask that is not stable is replaced by the best of the others.
    const at::Tensor logits = upscale(image, own, of_image, 0, shape_.masks),
                     single = logits.select(1, 0);
    const at::Tensor inner = (single > shape_.dynamic_delta).sum({1, 2}),
                     outer = (single > -shape_.dynamic_delta).sum({1, 2});
    const std::vector<float> above = floats(inner), below = floats(outer);
    for (std::size_t p = 0; p < out.masks.size(); ++p) {
        const float stability = below[p] > 0 ? above[p] / below[p] : 1.0F;
        const auto* own_iou = predicted.data() + static_cast<int64_t>(p) * shape_.masks;
        const int64_t best = stability < shape_.dynamic_threshold
                                 ? std::max_element(own_iou + 1, own_iou + shape_.masks) - own_iou
                                 : 0;
        picked[p] = static_cast<int64_t>(p) * shape_.masks + best;
        out.masks[p].iou = own_iou[best];
    }
    out.logits = logits.flatten(0, 1).index_select(0, on_device(picked, placement_.device));
    return out;
}

DecodedBatch MaskDecoder::operator()(const ImageContext& image,
                                     const std::vector<ModelPrompt>& prompts,
                                     const DecodeRequest& request, const at::Tensor& hints) const {
    try {
        return any_batch(image, prompts, request, hints);
    } catch (...) {  // memory may have run out, of which graphs keep some
        graphs_.clear();
        throw;
    }
}

DecodedBatch MaskDecoder::any_batch(const ImageContext& image,
                                    const std::vector<ModelPrompt>& prompts,
                                    const DecodeRequest& request, const at::Tensor& hints) const {
    std::vector<at::Tensor> tokens;
    for (const ModelPrompt& p : prompts)
        tokens.push_back(at::cat({output_tokens_, prompts_.tokens(p)}));
    DecodedBatch out;
    std::vector<at::Tensor> logits, mask_tokens;
    // Consecutive prompts go together if they have equally many tokens and all or none have a hint.
    for (std::size_t begin = 0, end = 0; begin < prompts.size(); begin = end) {
        while (end < prompts.size() && tokens[end].size(0) == tokens[begin].size(0) &&
               (prompts[end].mask_hint == nullptr) == (prompts[begin].mask_hint == nullptr))
            ++end;
        const int64_t first = static_cast<int64_t>(begin),
                      count = static_cast<int64_t>(end - begin);
        at::Tensor own = hints.defined() ? hints.narrow(0, first, count) : at::Tensor();
        if (prompts[begin].mask_hint != nullptr) {
            std::vector<at::Tensor> given;
            for (std::size_t i = begin; i < end; ++i) {
                given.push_back(at::from_blob(const_cast<float*>(prompts[i].mask_hint),
                                              {low_res().height, low_res().width}, at::kFloat));
            }
            own = at::stack(given).to(placement_.device);
        }
        const std::vector<at::Tensor> together(tokens.begin() + first,
                                               tokens.begin() + first + count);
        DecodedBatch part = equal_batch(
            image, at::stack(together).to(placement_.device, placement_.type), request, own);
        for (BatchMask& m : part.masks) {
            m.prompt += first;
            out.masks.push_back(m);
        }
        logits.push_back(part.logits);
        if (part.tokens.defined()) mask_tokens.push_back(part.tokens);
    }
    out.logits = logits.size() == 1 ? logits.front() : at::cat(logits);
    if (!mask_tokens.empty()) out.tokens = at::cat(mask_tokens);
    return out;
}

}  // namespace segrid::plain
