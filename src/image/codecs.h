// The decoders of image files. Each writes all of an image or says why it cannot, and prints
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/geometry.h"

namespace segrid {

// Bytes to decode, and the size that their header says.
struct Encoded {
    const uint8_t* data;
    std::size_t size;
    Size image;
};

// How a decoder ended.
struct Decoded {
    std::string error;  // why it stopped; empty where it did not. What was decoded before stands.
    std::string
        damaged;  // what is wrong with data that was decoded nevertheless; empty where nothing is
};

// As the file holds them, not turned: image.height packed rows of RGB to `rgb`, by the rules in
// image.h. Rows that cannot be decoded are left as they are.
Decoded decode_jpeg(const Encoded& from, uint8_t* rgb);
Decoded decode_png(const Encoded& from, uint8_t* rgb);

}  // namespace segrid
