// From a crop of an image to what the encoder reads.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "core/geometry.h"
#include "core/views.h"

namespace segrid {

// Pillow's bilinear resize of the crop to frame.resized(). crop.size must be frame.crop().
// resized: frame.resized().area() * 3 bytes, packed RGB rows.
void resize_for_model(ImageView crop, const FrameMap& frame, uint8_t* resized, Arena& arena);

// One row of RGB to three planar rows: (x - mean) / std in float32, the operations and the order of segment-anything.
// out_planar[c]: `width` floats of channel c.
void normalise_row(const uint8_t* rgb_row, int64_t width, const PreprocessSpec& spec, float* const out_planar[3]);

}  // namespace segrid
