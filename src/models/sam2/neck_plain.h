// The plain definition of the neck that SAM 2 and families like it put on their encoders' stages.
// The figure is in hiera.h.
#pragma once

#include <array>

#include "models/sam2/config.h"
#include "models/segmentation.h"
#include "nn/plain.h"

namespace segrid::plain {

class Neck {
public:
    Neck(const Weights& vision, const Weights& decoder, const sam2::ImageConfig& config);
    // stages: [images, side, side, channels] each. Returns the features of sam2::Neck, [images,
    // grid area, channels] each, and tells them.
    Features operator()(const std::array<at::Tensor, sam2::kStages>& stages, const Tap* tap) const;

private:
    bool top_down_;
    std::array<Linear, sam2::kStages> lateral_;
    Linear quarter_, half_;  // the decoder's own convolutions
};

}  // namespace segrid::plain
