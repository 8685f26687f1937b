// Sam2Config, as transformers writes it, and Sam2VideoConfig, which has the same parts for images.
#pragma once

#include <vector>

#include "models/mask_decoder/config.h"

namespace segrid::sam2 {

// image: side in pixels. kernel, stride, padding: of the convolution that makes patches.
// background: side of the coarse table of positions. Each list but global_blocks has one number per
// stage.
struct HieraConfig {
    int64_t image = 1024, kernel = 7, stride = 4, padding = 3;
    int64_t hidden = 96, background = 7;
    std::vector<int64_t> blocks{1, 2, 7, 2}, dims{96, 192, 384, 768}, heads{1, 2, 4, 8},
        windows{8, 4, 14, 7}, global_blocks{5, 7, 9};
    double mlp_ratio = 4;
    float eps = 1e-6F;
    // The number of tokens along a side in a stage.
    int64_t grid(int64_t stage) const { return image / stride >> stage; }
};

inline constexpr int64_t kStages = 4;

// The stages of an image encoder, each with half the grid of the one before.
struct StageShapes {
    int64_t image = 1024;              // side in pixels
    std::vector<int64_t> sides, dims;  // tokens along a side, and their channels, by stage
};

// Everything but the encoder's own layers. Families with another encoder have the same (EdgeTAM).
struct ImageConfig {
    StageShapes stages;
    int64_t fpn = 256;     // channels of the neck
    bool top_down = true;  // whether the coarsest level is added to the level of the image tokens
    mask_decoder::DecoderShape decoder;
    mask_decoder::PromptShape prompt;

    // Throws Corrupt, naming the key, if a value is outside its plausible range or if two values
    // contradict each other. Throws Unsupported for shapes that no published model has.
    ImageConfig(const Config& config, StageShapes stages);
};

struct Sam2Config : ImageConfig {
    HieraConfig hiera;
    // Throws as ImageConfig does.
    explicit Sam2Config(const Config& config);

private:
    Sam2Config(const Config& config, HieraConfig hiera);
};

}  // namespace segrid::sam2
