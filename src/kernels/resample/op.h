// Antialiased bilinear resampling of 8-bit RGB, bit for bit what Pillow's Image.resize((w, h),
// BILINEAR) returns.
//
// A triangle filter, widened by the scale when shrinking; 8-bit fixed point with 22 fractional
// bits; first along one direction, rounded to 8 bits, then along the other. As in Pillow 13 that is
// y first where the height shrinks by more than twice what the width does, else x (Pillow
// before 12.3 always began with x, which differs by 1 in some pixels of such tall images). A
// direction whose size does not change is skipped.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "core/views.h"

namespace segrid {

// dst: dst_size.height rows of dst_size.width packed RGB pixels. Both sizes are at least 1x1 and
// below 2^24 in either direction (InvalidInput else). Scratch memory: the rows that one output row
// needs, at the output's width, never an image. Work is spread over the pool in bands of output
// rows. Same bits for any number of threads.
void resize_rgb(ImageView src, uint8_t* dst, Size dst_size, const Schedule& schedule);

// The same filter without rounding, as torch's interpolate(mode="bilinear", antialias=True) of the
// pixels as floats: weights in fp32, first along x, then along y. dst: packed RGB floats in 0..255.
void resize_rgb_unrounded(ImageView src, float* dst, Size dst_size, const Schedule& schedule);

// As resize_rgb, with Pillow's BICUBIC (Keys' cubic with a = -1/2).
void resize_rgb_bicubic(ImageView src, uint8_t* dst, Size dst_size, const Schedule& schedule);

// What transformers' Owlv2ImageProcessorPil makes of an image: zeros below or to the right make it
// square; where it shrinks by a factor f, SciPy's gaussian_filter with sigma (f - 1) / 2 (mirrored
// edges, cut off at 4 sigma); then zoom(order=1, grid_mode=True, mirrored edges). Blur and zoom are
// one filter here, with weights in fp32: within 1e-4 of 255. dst: packed RGB floats in 0..255;
// dst_size is square.
void resize_rgb_blurred(ImageView src, float* dst, Size dst_size, const Schedule& schedule);

}  // namespace segrid
