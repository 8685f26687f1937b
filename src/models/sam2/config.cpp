#include "models/sam2/config.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace segrid::sam2 {

using mask_decoder::contradiction;

namespace {

const std::string v = "vision_config.", b = v + "backbone_config.";

[[noreturn]] void unsupported(const Config& c, const std::string& what) {
    fail(ErrorKind::Unsupported, c.name() + ": " + what);
}

// Throws where values of h contradict each other, or where no published model has them.
void check_hiera(const Config& c, const HieraConfig& h) {
    if (c.integer(b + "num_query_pool_stages", 3) != 3 || c.side(b + "query_stride", 2) != 2) {
        unsupported(
            c,
            "backbone_config: queries must be pooled by 2 at the beginning of stages 2, 3 and 4");
    }
    if (h.image % (8 * h.stride) != 0)
        contradiction(c, b + "image_size must be a multiple of 8 x patch_stride");
    if (h.grid(0) > 1024) contradiction(c, b + "image_size / patch_stride must be at most 1024");
    if ((h.image + 2 * h.padding - h.kernel) / h.stride + 1 != h.grid(0)) {
        unsupported(c,
                    b + "patch_kernel_size, patch_stride and patch_padding must give image_size / "
                        "patch_stride patches a side");
    }
    if (h.dims[0] != h.hidden)
        contradiction(c, b + "embed_dim_per_stage must begin with hidden_size");
    if (h.windows[0] < 1 || h.grid(0) % h.windows[0] != 0)
        contradiction(c,
                      b + "window_size_per_stage: the first must divide image_size / patch_stride");
    for (std::size_t s = 0; s < kStages; ++s) {
        if (h.dims[s] % h.heads[s] != 0)
            contradiction(
                c, b + "embed_dim_per_stage must be multiples of num_attention_heads_per_stage");
        if (s + 1 < kStages && h.windows[s] % 2 != 0)
            unsupported(
                c,
                b + "window_size_per_stage: windows whose queries are pooled must have even sides");
    }
}

HieraConfig read_hiera(const Config& c) {
    HieraConfig h;
    h.image = c.side(b + "image_size", h.image, {.low = 16, .high = 8192});
    h.kernel = c.side(b + "patch_kernel_size", h.kernel, {.low = 1, .high = 64});
    h.stride = c.side(b + "patch_stride", h.stride, {.low = 1, .high = 64});
    h.padding = c.side(b + "patch_padding", h.padding, {.low = 0, .high = 64});
    h.hidden = c.integer(b + "hidden_size", h.hidden, {.low = 1, .high = 16384});
    h.background = c.side(b + "window_positional_embedding_background_size", h.background,
                          {.low = 1, .high = 256});
    h.blocks = c.integers(b + "blocks_per_stage", h.blocks, {.low = 1, .high = 256});
    h.dims = c.integers(b + "embed_dim_per_stage", h.dims, {.low = 1, .high = 16384});
    h.heads = c.integers(b + "num_attention_heads_per_stage", h.heads, {.low = 1, .high = 256});
    h.windows = c.integers(b + "window_size_per_stage", h.windows, {.low = 0, .high = 1024});
    h.global_blocks =
        c.integers(b + "global_attention_blocks", h.global_blocks, {.low = 0, .high = 1024});
    h.mlp_ratio = c.number(b + "mlp_ratio", h.mlp_ratio, {.low = 0.01, .high = 64});
    h.eps = mask_decoder::read_eps(c, b + "layer_norm_eps");
    mask_decoder::check_activation(c, b + "hidden_act", "gelu");
    for (const auto* list : {&h.blocks, &h.dims, &h.heads, &h.windows}) {
        if (list->size() != kStages)
            unsupported(
                c, "backbone_config: lists must have four numbers, one per stage; one list has " +
                       std::to_string(list->size()));
    }
    check_hiera(c, h);
    return h;
}

StageShapes stages_of(const HieraConfig& h) {
    StageShapes s{.image = h.image, .sides = {}, .dims = h.dims};
    for (int64_t stage = 0; stage < kStages; ++stage) s.sides.push_back(h.grid(stage));
    return s;
}

mask_decoder::DecoderShape read_decoder(const Config& c) {
    mask_decoder::DecoderShape decoder = mask_decoder::read_decoder(c);
    decoder.transformer.sam2_names = true;
    decoder.transformer.eps = 1e-5F;  // torch's default, whatever the config says
    decoder.object_score = true;
    // transformers has no such key.
    decoder.sigmoid_iou = c.boolean("mask_decoder_config.iou_prediction_use_sigmoid", true);
    if (decoder.transformer.layers != 2)
        unsupported(c, "mask_decoder_config.num_hidden_layers must be 2");
    if (c.boolean("mask_decoder_config.dynamic_multimask_via_stability", true)) {
        decoder.dynamic_delta = static_cast<float>(
            c.number("mask_decoder_config.dynamic_multimask_stability_delta", 0.05));
        decoder.dynamic_threshold = static_cast<float>(
            c.number("mask_decoder_config.dynamic_multimask_stability_thresh", 0.98));
    }
    return decoder;
}

}  // namespace

ImageConfig::ImageConfig(const Config& c, StageShapes shapes)
    : stages(std::move(shapes)), decoder(read_decoder(c)) {
    fpn = c.integer(v + "fpn_hidden_size", fpn, {.low = 8, .high = 16384});
    const auto levels = c.integers(v + "fpn_top_down_levels", std::vector<int64_t>{2, 3});
    const auto has = [&](int64_t level) {
        return std::find(levels.begin(), levels.end(), level) != levels.end();
    };
    top_down = has(2);

    if (has(0) || has(1))
        unsupported(c, "vision_config.fpn_top_down_levels: must not contain 0 or 1");
    if (c.integer(v + "num_feature_levels", 3) != 3)
        unsupported(c, "vision_config.num_feature_levels must be 3");
    if (c.integer(v + "fpn_kernel_size", 1) != 1 || c.integer(v + "fpn_stride", 1) != 1 ||
        c.integer(v + "fpn_padding", 0) != 0) {
        unsupported(c, "vision_config: the neck's convolutions must be 1 x 1");
    }
    const std::vector<int64_t>& dims = stages.dims;
    const auto channels =
        c.integers(v + "backbone_channel_list", std::vector<int64_t>(dims.rbegin(), dims.rend()));
    if (!std::equal(channels.begin(), channels.end(), dims.rbegin(), dims.rend())) {
        contradiction(
            c, v + "backbone_channel_list must be the channels of the encoder's stages, reversed");
    }

    if (decoder.transformer.dim != fpn)
        contradiction(c,
                      "vision_config.fpn_hidden_size must equal mask_decoder_config.hidden_size");
    if (c.side("prompt_encoder_config.image_size", stages.image) != stages.image)
        contradiction(c, "prompt_encoder_config.image_size must equal backbone_config.image_size");
    if (stages.image / c.side("prompt_encoder_config.patch_size", 16, {.low = 1, .high = 256}) !=
        stages.sides[2]) {
        contradiction(c,
                      "prompt_encoder_config.patch_size must be the stride of the encoder's third "
                      "stage");
    }
    prompt = mask_decoder::read_prompt(c, stages.image, stages.sides[2], fpn);
    prompt.padded_boxes = true;
}

Sam2Config::Sam2Config(const Config& c) : Sam2Config(c, read_hiera(c)) {}

Sam2Config::Sam2Config(const Config& c, HieraConfig h)
    : ImageConfig(c, stages_of(h)), hiera(std::move(h)) {}

}  // namespace segrid::sam2
