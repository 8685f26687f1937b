#include "models/mask_decoder/mask_decoder.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "core/trace.h"

namespace segrid::mask_decoder {
namespace {

UpscaleWeights upscale_weights(const Scope& s, int64_t dim) {
    const int64_t c1 = dim / 4, c2 = dim / 8;
    return {(s / "upscale_conv1").tensor("weight", {dim, c1, 2, 2}), (s / "upscale_conv1").tensor("bias", {c1}),
            (s / "upscale_layer_norm").tensor("weight", {c1}), (s / "upscale_layer_norm").tensor("bias", {c1}),
            (s / "upscale_conv2").tensor("weight", {c1, c2, 2, 2}), (s / "upscale_conv2").tensor("bias", {c2}), 1e-6F, s.precision()};
}

}  // namespace

MaskDecoder::MaskDecoder(const Scope& s, const DecoderShape& c)
    : shape_(c), output_tokens_(at::cat({(s / "iou_token").tensor("weight", {1, c.transformer.dim}),
                                         (s / "mask_tokens").tensor("weight", {c.masks, c.transformer.dim})})),
      transformer_(s / "transformer", c.transformer), upscale_(upscale_weights(s, c.transformer.dim)),
      iou_head_((s / "iou_prediction_head").in(Precision::Fp32), c.transformer.dim, c.iou_hidden, c.masks, c.iou_depth) {
    for (int64_t m = 0; m < c.masks; ++m) {
        hypernetworks_.emplace_back((s / "output_hypernetworks_mlps" / std::to_string(m)).in(Precision::Fp32), c.transformer.dim, c.transformer.dim,
                                    c.transformer.dim / 8, 3);
    }
}

std::vector<DecodedMask> MaskDecoder::operator()(const ImageTokens& image, Size grid, const float* prompt, int64_t count,
                                                 const DecodeRequest& request, const Schedule& schedule, Arena& arena) const {
    const int64_t dim = shape_.transformer.dim, outputs = 1 + shape_.masks, first = request.multimask ? 1 : 0;
    const int64_t wanted = request.multimask ? shape_.masks - 1 : 1, plane = 16 * grid.area();
    std::vector<DecodedMask> masks(static_cast<std::size_t>(wanted));
    // Logits first: they outlive the scope of everything else.
    float* logits = arena.take<float>(wanted * plane);
    const Arena::Scope scope(arena);

    float* tokens = arena.take<float>((outputs + count) * dim);
    std::copy_n(output_tokens_.const_data_ptr<float>(), outputs * dim, tokens);
    std::copy_n(prompt, count * dim, tokens + outputs * dim);
    float* keys = arena.take<float>(image.count * dim);
    std::vector<int64_t> read{0};  // the tokens of the IoU and of the masks that were asked for
    for (int64_t m = 0; m < wanted; ++m) read.push_back(1 + first + m);
    transformer_(image, outputs + count, tokens, read, keys, schedule, arena);

    // IoU before pixels: it depends on the tokens alone, and a mask that fails needs no upscaling. Same result.
    constexpr int64_t kHyper = 16;
    float* hyper = arena.take<float>(shape_.transformer.dim / 8 * kHyper);
    std::vector<int64_t> kept;
    run_in_worker(schedule, [&] {
        const Span span("tokens");
        const int64_t channels = dim / 8;
        float* iou = arena.take<float>(shape_.masks);
        float* weights = arena.take<float>(channels);
        iou_head_(1, tokens, dim, iou, shape_.masks, arena);
        std::fill_n(hyper, channels * kHyper, 0.0F);
        for (int64_t m = 0; m < wanted; ++m) {
            masks[static_cast<std::size_t>(m)].iou = iou[first + m];
            if (!(iou[first + m] > request.iou_above)) continue;
            hypernetworks_[static_cast<std::size_t>(first + m)](1, tokens + (1 + first + m) * dim, dim, weights, channels, arena);
            for (int64_t c = 0; c < channels; ++c) hyper[c * kHyper + static_cast<int64_t>(kept.size())] = weights[c];
            kept.push_back(m);
        }
    });
    if (kept.empty()) return masks;
    constexpr int64_t kRows = 4;  // image rows per task
    parallel_for((grid.height + kRows - 1) / kRows, schedule, [&](int64_t task, Worker& worker) {
        const Span span("upscale", task);
        upscale_masks(upscale_, keys, dim, grid.width, task * kRows, std::min(grid.height, (task + 1) * kRows), hyper,
                      static_cast<int64_t>(kept.size()), logits, plane, worker.arena);
    });
    for (std::size_t i = 0; i < kept.size(); ++i) {
        masks[static_cast<std::size_t>(kept[i])].logits = logits + static_cast<int64_t>(i) * plane;
    }
    return masks;
}

}  // namespace segrid::mask_decoder
