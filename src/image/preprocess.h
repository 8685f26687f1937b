// From a crop of an image to what the encoder reads.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "core/geometry.h"
#include "core/views.h"

namespace segrid {

// Pillow's bilinear resize of the crop to frame.resized(). crop.size must be frame.crop().
// resized: frame.resized().area() * 3 bytes, packed RGB rows.
void resize_for_model(ImageView crop, const FrameMap& frame, uint8_t* resized, const Schedule& schedule);

}  // namespace segrid
