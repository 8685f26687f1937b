#pragma once

#include "kernels/upscale/op.h"

namespace segrid::upscale {

void plain(const UpscaleWeights& w, const UpscaleInput& input, int64_t first, int64_t last,
           Rows<float> logits);
void tiled(const UpscaleWeights& w, const UpscaleInput& input, int64_t first, int64_t last,
           Rows<float> logits, Arena& arena);

}  // namespace segrid::upscale
