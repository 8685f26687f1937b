// Antialiased bilinear resampling of 8-bit RGB, bit for bit equal to Pillow's Image.resize((w, h),
// BILINEAR).
//
// The filter is a triangle, widened by the scale when the image shrinks, in 8-bit fixed point with
// 22 fractional bits. It is applied along one direction, rounded to 8 bits, then along the other.
// As in Pillow 13, y comes first if the height shrinks by more than twice as much as the width,
// otherwise x. (Pillow before 12.3 always began with x, which differs by 1 in some pixels of such
// tall images.) A direction whose size does not change is skipped.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "core/views.h"

namespace segrid {

// dst: dst_size.height rows of dst_size.width packed RGB pixels. Both sizes must be at least 1x1
// and below 2^24 in either direction; otherwise InvalidInput is thrown. Scratch memory: the rows
// that one output row needs, at the output's width, never a whole image. The work is spread over
// the pool in bands of output rows, with the same bits for any number of threads.
void resize_rgb(ImageView src, uint8_t* dst, Size dst_size, const Schedule& schedule);

// The same filter without rounding: equals torch's interpolate(mode="bilinear", antialias=True) of
// the pixels as floats. Weights are fp32; x comes first, then y. dst: packed RGB floats in 0..255.
void resize_rgb_unrounded(ImageView src, float* dst, Size dst_size, const Schedule& schedule);

// As resize_rgb, with Pillow's BICUBIC (Keys' cubic with a = -1/2).
void resize_rgb_bicubic(ImageView src, uint8_t* dst, Size dst_size, const Schedule& schedule);

// Equals transformers' Owlv2ImageProcessorPil. Zeros at the bottom or right make the image square.
// If it shrinks by a factor f, SciPy's gaussian_filter with sigma (f - 1) / 2 follows (mirrored
// edges, cut off at 4 sigma), then zoom(order=1, grid_mode=True, mirrored edges). Here blur and
// zoom are one filter with fp32 weights, so results differ by at most 1e-4 of 255. dst: packed RGB
// floats in 0..255; dst_size is square.
void resize_rgb_blurred(ImageView src, float* dst, Size dst_size, const Schedule& schedule);

}  // namespace segrid
