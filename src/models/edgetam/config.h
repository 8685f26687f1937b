// EdgeTamConfig and EdgeTamVideoConfig, as transformers writes them.
#pragma once

#include <vector>

#include "models/sam2/config.h"
#include "models/sam2/memory_config.h"

namespace segrid::edgetam {

using sam2::kStages;

// timm's RepViT, by the name of its architecture ("repvit_m1") and the arguments that change it.
struct RepVitConfig {
    int64_t image = 1024;               // side in pixels
    std::vector<int64_t> dims, depths;  // channels and blocks, by stage
    int64_t mlp_ratio = 2;
    // Where the BatchNorms of a block's 3x3 convolution are: the first models have one in each of
    // its branches, later ones have one in the 3x3 branch and one after their sum.
    bool norm_per_branch = true;

    // The number of tokens along a side in a stage.
    int64_t grid(std::size_t stage) const { return image / 4 >> stage; }
    // Throws Unsupported for another encoder, Corrupt as EdgeTamConfig does.
    explicit RepVitConfig(const Config& config);
};

struct EdgeTamConfig : sam2::ImageConfig {
    RepVitConfig repvit;
    // Throws Corrupt, naming the key, if a value is outside its plausible range or if two values
    // contradict each other. Throws Unsupported for shapes that no published model has.
    explicit EdgeTamConfig(const Config& config);

private:
    EdgeTamConfig(const Config& config, RepVitConfig repvit);
};

// The latents that a frame's memory is condensed to. Those of the square lie over the image, each
// in the middle of a window; the global ones lie nowhere.
struct PerceiverConfig {
    int64_t global = 256, square = 16;  // global latents; latents along the square's side
    int64_t layers = 2, hidden = 256;
};

struct MemoryConfig : sam2::MemoryConfig {
    PerceiverConfig perceiver;
    // Throws as sam2::MemoryConfig does.
    MemoryConfig(const Config& config, const sam2::ImageConfig& image);
};

}  // namespace segrid::edgetam
