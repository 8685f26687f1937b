// Antialiased bilinear resampling of 8-bit RGB, bit for bit what Pillow's Image.resize((w, h), BILINEAR) returns.
//
// A triangle filter, widened by the scale when shrinking; 8-bit fixed point with 22 fractional bits; first along x, rounded to
// 8 bits, then along y. A direction whose size does not change is skipped, as in Pillow.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "core/views.h"

namespace segrid {

// dst: dst_size.height rows of dst_size.width packed RGB pixels. Both sizes are at least 1x1 and below 2^24 in either direction
// (InvalidInput else). Scratch memory: the rows that one output row needs, at the output's width, never an image.
// Work is spread over the pool in bands of output rows when called from outside a worker (each band then uses its worker's arena);
// inside a worker it runs inline. Same bits for any number of threads.
void resize_rgb(ImageView src, uint8_t* dst, Size dst_size, Arena& arena);

}  // namespace segrid
