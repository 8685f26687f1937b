// Sam2Config, as transformers writes it (and Sam2VideoConfig, of which an image needs the same
// parts).
#pragma once

#include <vector>

#include "models/mask_decoder/config.h"

namespace segrid::sam2 {

struct HieraConfig {
    int64_t image = 1024, kernel = 7, stride = 4, padding = 3;  // of the patches
    int64_t hidden = 96, background = 7;  // background: side of the coarse table of positions
    std::vector<int64_t> blocks{1, 2, 7, 2}, dims{96, 192, 384, 768}, heads{1, 2, 4, 8},
        windows{8, 4, 14, 7}, global_blocks{5, 7, 9};
    double mlp_ratio = 4;
    float eps = 1e-6F;
    int64_t grid(int64_t stage) const { return image / stride >> stage; }
};

inline constexpr int64_t kStages = 4;

struct Sam2Config {
    HieraConfig hiera;
    int64_t fpn = 256;     // channels of the neck
    bool top_down = true;  // whether the coarsest level is added to the one of the image tokens
    mask_decoder::DecoderShape decoder;
    mask_decoder::PromptShape prompt;

    // Throws Corrupt naming the key when a value is outside its plausible range or two values
    // contradict each other, Unsupported for shapes that no published model has.
    explicit Sam2Config(const Config& config);
};

}  // namespace segrid::sam2
