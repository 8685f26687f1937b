// The decoders of image files. Each fills a whole image or reports why it cannot. None prints
// anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/geometry.h"

namespace segrid {

// Bytes to decode, and the image size that their header states.
struct Encoded {
    const uint8_t* data;
    std::size_t size;
    Size image;
};

// The outcome of a decoder.
struct Decoded {
    // Why it stopped; empty if it did not stop. The rows decoded before that are kept.
    std::string error;
    // The fault in data that was decoded nevertheless; empty if there is none.
    std::string damaged;
};

// Write image.height packed RGB rows to `rgb`, by the rules in image.h but without applying the
// orientation. Rows that cannot be decoded are left as they are.
Decoded decode_jpeg(const Encoded& from, uint8_t* rgb);
Decoded decode_png(const Encoded& from, uint8_t* rgb);

}  // namespace segrid
