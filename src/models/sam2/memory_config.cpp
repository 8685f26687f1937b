#include "models/sam2/memory_config.h"

#include <algorithm>

#include "core/error.h"

namespace segrid::sam2 {

using mask_decoder::contradiction;

MemoryConfig::MemoryConfig(const Config& c, const ImageConfig& image,
                           MemoryAttentionConfig defaults)
    : dim(image.fpn),
      grid(image.stages.sides[2]),
      pooling(c.integer("memory_pooling", 1, {.low = 1, .high = 64})),
      attention(std::move(defaults)) {
    const auto must_be = [&](const std::string& key, int64_t only) {
        if (c.integer(key, only) != only)
            fail(ErrorKind::Unsupported,
                 c.name() + ": " + key + " must be " + std::to_string(only) + " for this model");
    };
    if (grid % pooling != 0)
        contradiction(c, "memory_pooling must divide the " + std::to_string(grid) +
                             " image tokens along a side");
    memory_grid = grid / pooling;
    rules.frames = c.integer("num_maskmem", rules.frames, {.low = 1, .high = 64});
    // -1 in the file stands for all of them.
    rules.conditioning =
        std::max<int64_t>(0, c.integer("max_cond_frame_num", -1, {.low = -1, .high = 1 << 20}));
    rules.pointers =
        c.integer("max_object_pointers_in_encoder", rules.pointers, {.low = 1, .high = 1 << 10});
    rules.multimask = c.boolean("multimask_output_in_sam", rules.multimask);
    rules.multimask_in_tracking =
        c.boolean("multimask_output_for_tracking", rules.multimask_in_tracking);
    rules.min_points =
        c.integer("multimask_min_pt_num", rules.min_points, {.low = 0, .high = 1 << 10});
    rules.max_points =
        c.integer("multimask_max_pt_num", rules.max_points, {.low = 0, .high = 1 << 10});
    occlusion = c.boolean("enable_occlusion_spatial_embedding", true);
    pointer_times = c.boolean("enable_temporal_pos_encoding_for_object_pointers", true);

    MemoryAttentionConfig& a = attention;
    a.layers = c.integer("memory_attention_num_layers", a.layers, {.low = 1, .high = 64});
    a.heads = c.integer("memory_attention_num_attention_heads", a.heads, {.low = 1, .high = 256});
    a.downsample =
        c.integer("memory_attention_downsample_rate", a.downsample, {.low = 1, .high = 64});
    const std::string mlp = "memory_attention_" + a.mlp_key;
    a.mlp = c.integer(mlp + "_hidden_size", a.mlp, {.low = 1, .high = 65536});
    a.theta = c.number("rope_parameters.rope_theta", c.number("memory_attention_rope_theta", 10000),
                       {.low = 1, .high = 1e9});
    must_be("memory_attention_hidden_size", dim);
    mask_decoder::check_activation(c, mlp + "_hidden_act", "relu");
    for (const char* part : {"mask_downsampler", "memory_fuser"})
        mask_decoder::check_activation(c, std::string(part) + "_hidden_act", "gelu");
    // Rotary positions turn pairs of channels, half of them by the row and half by the column.
    if (dim % (4 * a.heads * a.downsample) != 0)
        contradiction(c,
                      "memory_attention_hidden_size must be a multiple of four times heads x "
                      "downsample rate");

    MemoryEncoderConfig& e = encoder;
    e.channels = c.integer("memory_encoder_output_channels", e.channels, {.low = 4, .high = 16384});
    rules.channels = e.channels;
    rules.tokens = kept_tokens();
    e.kernel = c.integer("mask_downsampler_kernel_size", e.kernel, {.low = 1, .high = 31});
    e.total_stride =
        c.integer("mask_downsampler_total_stride", e.total_stride, {.low = 2, .high = 256});
    e.embedding = c.integer("mask_downsampler_embed_dim", e.embedding, {.low = 1, .high = 16384});
    e.fuser_layers = c.integer("memory_fuser_num_layers", e.fuser_layers, {.low = 0, .high = 64});
    e.fuser_hidden =
        c.integer("memory_fuser_intermediate_dim", e.fuser_hidden, {.low = 1, .high = 65536});
    e.fuser_kernel = c.integer("memory_fuser_kernel_size", e.fuser_kernel, {.low = 1, .high = 31});
    e.scale = c.number("sigmoid_scale_for_mem_enc", e.scale, {.low = -1e4, .high = 1e4});
    e.bias = c.number("sigmoid_bias_for_mem_enc", e.bias, {.low = -1e4, .high = 1e4});
    must_be("mask_downsampler_stride", 2);
    must_be("mask_downsampler_padding", e.kernel / 2);
    must_be("memory_fuser_padding", e.fuser_kernel / 2);
    must_be("memory_fuser_embed_dim", dim);
    must_be("memory_encoder_hidden_size", dim);
    if (e.embedding != dim)
        contradiction(c, "mask_downsampler_embed_dim must equal vision_config.fpn_hidden_size");
    if ((e.total_stride & (e.total_stride - 1)) != 0 || e.kernel % 2 == 0 ||
        e.fuser_kernel % 2 == 0)
        fail(ErrorKind::Unsupported,
             c.name() +
                 ": mask_downsampler_total_stride must be a power of two, and the kernel "
                 "sizes of mask_downsampler and memory_fuser must be odd");
    if (grid * e.total_stride != image.stages.image)
        contradiction(c, "mask_downsampler_total_stride must bring image_size to the image tokens");
    if (dim % e.channels != 0 || e.channels % 4 != 0)
        contradiction(c,
                      "memory_encoder_output_channels must divide vision_config.fpn_hidden_size "
                      "and be a multiple of 4");
}

}  // namespace segrid::sam2
