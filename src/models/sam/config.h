// SamConfig, as transformers writes it.
#pragma once

#include <vector>

#include "models/mask_decoder/config.h"

namespace segrid::sam {

// image, patch: sides in pixels. output: channels of the features. window: side in tokens.
struct VisionConfig {
    int64_t image = 1024, patch = 16, channels = 3;
    int64_t hidden = 768, layers = 12, heads = 12, mlp = 3072, window = 14, output = 256;
    std::vector<int64_t> global_layers;
    bool qkv_bias = true, absolute_positions = true, relative_positions = true;
    float eps = 1e-6F;
    int64_t grid() const { return image / patch; }  // number of tokens along a side
    bool is_global(int64_t layer) const;
};

struct SamConfig {
    VisionConfig vision;
    mask_decoder::DecoderShape decoder;
    mask_decoder::PromptShape prompt;

    // Throws Corrupt, naming the key, if a value is outside its plausible range or if two values
    // contradict each other.
    explicit SamConfig(const Config& config);
};

}  // namespace segrid::sam
