// The plain definition of SAM 2's image encoder. The figure is in hiera.h.
#pragma once

#include <vector>

#include "models/sam2/config.h"
#include "models/sam2/neck_plain.h"
#include "models/segmentation.h"
#include "nn/plain.h"

namespace segrid::plain {

class HieraBlock {
public:
    HieraBlock(const Weights& weights, const sam2::HieraConfig& config, int64_t stage, bool first,
               int64_t layer);
    at::Tensor operator()(const at::Tensor& x) const;  // [images, side, side, channels]

private:
    int64_t heads_, window_;
    bool pools_;
    LayerNorm norm_;
    Linear qkv_, projection_;
    std::optional<Linear> shortcut_;  // if the block widens
    NormedMlp mlp_;
};

class Hiera {
public:
    Hiera(const Weights& vision, const Weights& decoder, const sam2::Sam2Config& config);
    // images: [images, 3, side, side], normalised. Returns the features of sam2::Hiera, [images,
    // grid area, channels] each.
    Features operator()(const at::Tensor& images, const Tap* tap) const;
    // About how many values each image needs at once.
    int64_t values_per_image() const;

private:
    sam2::HieraConfig config_;
    at::Tensor patches_, bias_, positions_;
    std::vector<std::vector<HieraBlock>> stages_;
    Neck neck_;
};

}  // namespace segrid::plain
