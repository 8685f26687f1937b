// Masks to pixels.
#pragma once

#include <cstdint>
#include <memory>

#include "core/views.h"
#include "masks/mask_set.h"

namespace segrid {

// The most bytes that dense pixels may take. Slices and single masks need less.
inline constexpr int64_t kMaxDenseBytes = int64_t{8} << 30;

// (N, H, W) bytes of 0 and 1, in pages that are touched only where there are masks. Throws
// OutOfMemory above kMaxDenseBytes.
std::shared_ptr<uint8_t> render_dense(const MaskSet& set);
// H x W labels: 0 is background, i + 1 is mask i. Smaller masks cover larger ones. uint16 labels
// can hold at most 65535 masks.
void render_labels(const MaskSet& set, uint32_t* labels);
// RGB picture: every mask in its own colour over the image, with an outline. alpha is in 0..1; out
// is H x W x 3.
void render_overlay(const MaskSet& set, ImageView image, double alpha, uint8_t* out);

}  // namespace segrid
