// What the header of an image file says, read by our own code before any decoder sees the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/geometry.h"

namespace segrid {

enum class ImageFormat { Unknown, Png, Jpeg, Gif, Bmp, WebP };

struct ImageHeader {
    ImageFormat format = ImageFormat::Unknown;
    Size size;            // as stored, before orientation
    int channels = 0;     // as stored: a palette counts 1
    int bit_depth = 0;    // bits of one channel
    int orientation = 1;  // EXIF, 1..8; anything else in the file reads as 1
    bool palette = false;
    bool animated = false;  // more than one frame or page
};

// Reads only headers. Never throws for bad data: a format that is recognised but whose header
// cannot be read has size 0 x 0.
ImageHeader probe_image(const uint8_t* data, std::size_t size);

// "PNG", "JPEG", ...
std::string format_name(ImageFormat format);

// What else the bytes seem to be, for messages: "text", "HTML", "a PDF document", "HEIC or AVIF",
// ... and the first bytes.
std::string describe_bytes(const uint8_t* data, std::size_t size);
// True for image formats that segrid knows by name but does not read.
bool is_unsupported_image(const uint8_t* data, std::size_t size);

// Empty when the file goes on to its end marker and its checksums hold (PNG, JPEG, WebP), else what
// is wrong, such as "truncated: no IEND chunk". Formats without such marks give an empty string.
std::string find_damage(const uint8_t* data, std::size_t size, ImageFormat format);

}  // namespace segrid
