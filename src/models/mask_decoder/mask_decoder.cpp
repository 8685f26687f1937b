#include "models/mask_decoder/mask_decoder.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>

#include "core/trace.h"
#include "models/mask_decoder/projection.h"

namespace segrid::mask_decoder {
namespace {

UpscaleWeights upscale_weights(const WeightScope& s, int64_t dim) {
    const int64_t c1 = dim / 4, c2 = dim / 8;
    return {(s / "upscale_conv1").tensor("weight", {dim, c1, 2, 2}),
            (s / "upscale_conv1").tensor("bias", {c1}),
            (s / "upscale_layer_norm").tensor("weight", {c1}),
            (s / "upscale_layer_norm").tensor("bias", {c1}),
            (s / "upscale_conv2").tensor("weight", {c1, c2, 2, 2}),
            (s / "upscale_conv2").tensor("bias", {c2}),
            1e-6F,
            s.precision()};
}

}  // namespace

MaskDecoder::MaskDecoder(const WeightScope& s, const DecoderShape& c, const at::Tensor& position)
    : shape_(c),
      transformer_(s / "transformer", c.transformer, position),
      upscale_(upscale_weights(s, c.transformer.dim)),
      iou_head_((s / "iou_prediction_head").in(Precision::Fp32), c.transformer.dim, c.iou_hidden,
                c.masks, c.iou_depth) {
    const int64_t dim = c.transformer.dim;
    std::vector<at::Tensor> outputs;
    if (c.object_score) {
        outputs.push_back((s / "obj_score_token").tensor("weight", {1, dim}));
        object_head_ = FeedForward((s / "pred_obj_score_head").in(Precision::Fp32), dim, dim, 1, 3);
    }
    outputs.push_back((s / "iou_token").tensor("weight", {1, dim}));
    outputs.push_back((s / "mask_tokens").tensor("weight", {c.masks, dim}));
    output_tokens_ = at::cat(outputs);
    for (int64_t m = 0; m < c.masks; ++m) {
        hypernetworks_.emplace_back(
            (s / "output_hypernetworks_mlps" / std::to_string(m)).in(Precision::Fp32), dim, dim,
            dim / 8, 3);
    }
}

SharedImage MaskDecoder::share(const at::Tensor& keys, const Schedule& schedule) const {
    SharedImage shared;
    const at::Tensor last = transformer_.share(keys, schedule, shared);
    const int64_t n = upscale_.exact.n(), dim = shape_.transformer.dim;
    shared.first = project(upscale_.exact, nullptr, last, schedule);
    shared.first_bias = at::empty({n});
    run_in_worker(schedule, [&] {
        linear(1, {transformer_.last_beta(), dim}, upscale_.exact,
               {shared.first_bias.mutable_data_ptr<float>(), n},
               {.bias = upscale_.first_bias.const_data_ptr<float>()});
    });
    return shared;
}

std::vector<DecodedMask> MaskDecoder::operator()(const ImageTokens& image, Size grid,
                                                 const UpscaleFeatures* high_res,
                                                 const float* prompt, int64_t count,
                                                 const DecodeRequest& request,
                                                 const Schedule& schedule, Arena& arena) const {
    const int64_t dim = shape_.transformer.dim, outputs = output_tokens_.size(0),
                  first = request.multimask ? 1 : 0;
    const int64_t wanted = request.multimask ? shape_.masks - 1 : 1, plane = 16 * grid.area();
    const bool dynamic = !request.multimask && shape_.dynamic_threshold > 0;
    std::vector<DecodedMask> masks(static_cast<std::size_t>(wanted));
    // Taken before the scope opens, because they outlive everything else.
    float* logits = arena.take<float>(wanted * plane);
    float* mask_tokens = request.tokens ? arena.take<float>(wanted * dim) : nullptr;
    const Arena::Lifetime scope(arena);

    float* tokens = arena.take<float>((outputs + count) * dim);
    std::copy_n(output_tokens_.const_data_ptr<float>(), outputs * dim, tokens);
    std::copy_n(prompt, count * dim, tokens + outputs * dim);
    FinalKeys final = transformer_.final_keys(image, outputs + count, arena);
    // The tokens to read: that of the IoU, and those of all masks that may be returned.
    std::vector<int64_t> read{iou_token()};
    for (int64_t m = 0; m < (dynamic ? shape_.masks : wanted); ++m)
        read.push_back(mask_token(first + m));
    const bool score = shape_.object_score && request.object_score;
    if (score) read.push_back(0);
    transformer_(image, outputs + count, tokens, read, final, schedule, arena);
    if (mask_tokens != nullptr) {
        std::copy_n(tokens + mask_token(first) * dim, wanted * dim, mask_tokens);
        for (int64_t m = 0; m < wanted; ++m)
            masks[static_cast<std::size_t>(m)].token = mask_tokens + m * dim;
    }

    // The IoU depends on the tokens alone. Masks that fail it are not upscaled, which does not
    // change the result.
    float* iou = arena.take<float>(shape_.masks);
    std::vector<int64_t> kept;
    run_in_worker(schedule, [&] {
        const Span span("tokens");
        iou_head_(1, tokens + iou_token() * dim, dim, iou, shape_.masks, arena);
        for (int64_t m = 0; m < shape_.masks && shape_.sigmoid_iou; ++m)
            iou[m] = 1.0F / (1.0F + std::exp(-iou[m]));
        for (int64_t m = 0; m < wanted; ++m) {
            masks[static_cast<std::size_t>(m)].iou = iou[first + m];
            if (dynamic || iou[first + m] > request.iou_above) kept.push_back(first + m);
        }
        if (score) {
            float value = 0;
            object_head_(1, tokens, dim, &value, 1, arena);
            for (DecodedMask& m : masks) m.object_score = value;
        }
    });
    if (kept.empty()) return masks;
    upscale(final, grid, high_res, tokens, kept, logits, schedule, arena);
    for (std::size_t i = 0; i < kept.size(); ++i) {
        masks[static_cast<std::size_t>(kept[i] - first)].logits =
            logits + static_cast<int64_t>(i) * plane;
    }
    if (dynamic) {
        int64_t inner = 0, outer = 0;
        for (int64_t i = 0; i < plane; ++i) {
            inner += logits[i] > shape_.dynamic_delta;
            outer += logits[i] > -shape_.dynamic_delta;
        }
        const float stability =
            outer > 0 ? static_cast<float>(inner) / static_cast<float>(outer) : 1.0F;
        if (stability < shape_.dynamic_threshold) {
            const int64_t best = std::max_element(iou + 1, iou + shape_.masks) - iou;
            upscale(final, grid, high_res, tokens, {best}, logits, schedule, arena);
            masks.front().iou = iou[best];
        }
    }
    return masks;
}

void MaskDecoder::upscale(const FinalKeys& final, Size grid, const UpscaleFeatures* high_res,
                          const float* tokens, const std::vector<int64_t>& masks, float* logits,
                          const Schedule& schedule, Arena& arena) const {
    constexpr int64_t kRows = 4;  // image rows per task
    const int64_t dim = shape_.transformer.dim, channels = dim / 8, plane = 16 * grid.area(),
                  columns = hyper_columns(static_cast<int64_t>(masks.size()));
    float* hyper = arena.take<float>(channels * columns);
    UpscaleInput input{.keys = {final.keys, dim},
                       .grid_w = grid.width,
                       .features = high_res,
                       .hyper = hyper,
                       .masks = static_cast<int64_t>(masks.size())};
    run_in_worker(schedule, [&] {
        const Span span("tokens");
        float* weights = arena.take<float>(channels);
        std::fill_n(hyper, channels * columns, 0.0F);
        for (std::size_t i = 0; i < masks.size(); ++i) {
            hypernetworks_[static_cast<std::size_t>(masks[i])](
                1, tokens + mask_token(masks[i]) * dim, dim, weights, channels, arena);
            for (int64_t c = 0; c < channels; ++c)
                hyper[c * columns + static_cast<int64_t>(i)] = weights[c];
        }
        if (final.shared == nullptr) return;
        const int64_t depth = final.basis.count, n = upscale_.exact.n();
        float* basis = arena.take<float>(depth * n);
        linear(depth, {final.basis.rows, dim}, upscale_.exact, {basis, n});
        input.first = {
            .rows = final.shared->first.const_data_ptr<float>(),
            .bias = final.shared->first_bias.const_data_ptr<float>(),
            .scale = final.updated.scale,
            .weights = final.updated.weights,
            .basis = make_reused_factor(upscale_.first.precision(), depth, n, basis, n, arena),
            .depth = depth};
    });
    parallel_for((grid.height + kRows - 1) / kRows, schedule, [&](int64_t task, Worker& worker) {
        const Span span("upscale", task);
        upscale_masks(upscale_, input, task * kRows, std::min(grid.height, (task + 1) * kRows),
                      {logits, plane}, worker.arena);
    });
}

}  // namespace segrid::mask_decoder
