// From a crop of an image to the pixels that the encoder reads.
#pragma once

#include <cstdint>
#include <vector>

#include "core/geometry.h"
#include "core/thread_pool.h"
#include "core/views.h"

namespace segrid {

// The crop resized to frame.resized(), as packed RGB rows: bytes, or floats in 0..255 if the filter
// does not round.
class ResizedImage {
public:
    // crop.size must be frame.crop().
    ResizedImage(ImageView crop, const FrameMap& frame, const PreprocessSpec& spec,
                 const Schedule& schedule);
    const uint8_t* bytes() const { return bytes_.empty() ? nullptr : bytes_.data(); }
    const float* floats() const { return floats_.empty() ? nullptr : floats_.data(); }

private:
    std::vector<uint8_t> bytes_;
    std::vector<float> floats_;
};

}  // namespace segrid
