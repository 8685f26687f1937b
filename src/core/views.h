// Non-owning views of pixels. Whoever hands one out names its owner.
#pragma once

#include <cstdint>

#include "core/geometry.h"

namespace segrid {

// H x W x 3 uint8 RGB, rows `stride` bytes apart, pixels packed.
struct ImageView {
    const uint8_t* data = nullptr;
    Size size;
    int64_t stride = 0;

    const uint8_t* row(int64_t y) const { return data + y * stride; }
    ImageView crop(ImageBox box) const {
        return {row(static_cast<int64_t>(box.y0)) + 3 * static_cast<int64_t>(box.x0),
                {static_cast<int64_t>(box.y1 - box.y0), static_cast<int64_t>(box.x1 - box.x0)},
                stride};
    }
};

}  // namespace segrid
