// The part of Sam2VideoConfig that images do not need, as transformers writes it.
#pragma once

#include <cmath>
#include <string>

#include "models/sam2/config.h"
#include "models/tracking.h"

namespace segrid::sam2 {

struct MemoryAttentionConfig {
    int64_t layers = 4, heads = 1, downsample = 1, mlp = 2048;
    double theta = 10000;  // of the rotary positions
    // The family's names: of the MLP in config.json, and of its two layers among the weights.
    std::string mlp_key = "feed_forward", mlp_in = "linear1", mlp_out = "linear2";
};

struct MemoryEncoderConfig {
    int64_t channels = 64;                                   // of what is remembered
    int64_t kernel = 3, total_stride = 16, embedding = 256;  // of the mask's convolutions
    int64_t fuser_layers = 2, fuser_hidden = 1024, fuser_kernel = 7;
    // The mask's probabilities are scaled and shifted before they are encoded.
    double scale = 20, bias = -10;
};

struct MemoryConfig {
    MemoryRules rules;
    int64_t dim = 256;  // channels of the image tokens
    int64_t grid = 64;  // image tokens along a side
    // A remembered frame is `unplaced` tokens (SAM 2: none), which lie nowhere, then a square of
    // tokens over the image, with this many along a side (SAM 2: the image tokens' own grid).
    int64_t unplaced = 0, memory_grid = 64;
    // SAM 2's remembered tokens are the means of squares of so many image tokens along a side; 1 is
    // SAM 2 itself. Segrid's own key, "memory_pooling".
    int64_t pooling = 1;
    bool occlusion = true;      // SAM 2.1: a hidden object adds an embedding to its memory
    bool pointer_times = true;  // SAM 2.1: object pointers carry their age
    MemoryAttentionConfig attention;
    MemoryEncoderConfig encoder;
    int64_t kept_tokens() const { return unplaced + memory_grid * memory_grid; }
    // What is added to the scores of object pointers: each token of a frame stands for several.
    float pointer_bias() const { return -2 * std::log(static_cast<float>(pooling)); }
    int64_t head_dim() const { return dim / attention.downsample / attention.heads; }

    // Throws Corrupt naming the key when a value is outside its plausible range or two values
    // contradict each other, Unsupported for shapes that no published model has.
    // defaults: what the family has where config.json says nothing.
    MemoryConfig(const Config& config, const ImageConfig& image,
                 MemoryAttentionConfig defaults = {});
};

}  // namespace segrid::sam2
