// The crops of an image, layer by layer, as segment-anything generates them.
#pragma once

#include <vector>

#include "core/geometry.h"

namespace segrid {

struct CropPlan {
    std::vector<ImageBox> boxes;  // exclusive maximum; the whole image first
    std::vector<int64_t> layers;  // the layer of each box
};

// Layer i has 2^i x 2^i crops that overlap by int(overlap_ratio * min side * 2 / 2^i) pixels. Crops
// of a very narrow image may be empty, as in segment-anything.
CropPlan generate_crop_boxes(Size image, int64_t layers, double overlap_ratio);

inline constexpr int64_t kMaxCropLayers = 5;

// The fewest layers (at most `most`) whose smallest crops are no longer than working_scale pixels.
int64_t crop_layers_for(Size image, double working_scale, double overlap_ratio,
                        int64_t most = kMaxCropLayers);

}  // namespace segrid
