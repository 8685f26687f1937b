#pragma once

#include "kernels/upscale/op.h"

namespace segrid::upscale {

void plain(const UpscaleWeights& w, const UpscaleFeatures* features, const float* keys, int64_t dim,
           int64_t grid_w, int64_t first, int64_t last, const float* hyper, int64_t masks,
           float* logits, int64_t plane);
void tiled(const UpscaleWeights& w, const UpscaleFeatures* features, const float* keys, int64_t dim,
           int64_t grid_w, int64_t first, int64_t last, const float* hyper, int64_t masks,
           float* logits, int64_t plane, Arena& arena);

}  // namespace segrid::upscale
