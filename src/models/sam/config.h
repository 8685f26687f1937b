// SamConfig, as transformers writes it.
#pragma once

#include <vector>

#include "core/geometry.h"
#include "weights/config.h"

namespace segrid::sam {

struct VisionConfig {
    int64_t image = 1024, patch = 16, channels = 3;
    int64_t hidden = 768, layers = 12, heads = 12, mlp = 3072, window = 14, output = 256;
    std::vector<int64_t> global_layers;
    bool qkv_bias = true, absolute_positions = true, relative_positions = true;
    float eps = 1e-6F;
    int64_t grid() const { return image / patch; }
    bool is_global(int64_t layer) const;
};

struct DecoderConfig {
    int64_t hidden = 256, layers = 2, heads = 8, mlp = 2048, downsample = 2;
    int64_t multimask = 3, iou_depth = 3, iou_hidden = 256;
    float eps = 1e-6F;
};

struct PromptConfig {
    int64_t mask_channels = 16;
    float eps = 1e-6F;
};

struct SamConfig {
    VisionConfig vision;
    DecoderConfig decoder;
    PromptConfig prompt;

    // Throws Corrupt naming the key when a value is missing its plausible range or two values contradict each other.
    explicit SamConfig(const Config& config);
};

}  // namespace segrid::sam
