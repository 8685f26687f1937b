// Reads the header of an image file with our own code, before any decoder sees the file.
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
    int channels = 0;     // as stored: a palette counts as 1
    int bit_depth = 0;    // bits of one channel
    int orientation = 1;  // EXIF, 1..8; any other value in the file becomes 1
    bool palette = false;
    bool animated = false;  // more than one frame or page
};

// Reads only headers. Never throws for bad data: if a format is recognised but its header cannot be
// read, the size is 0 x 0.
ImageHeader probe_image(const uint8_t* data, std::size_t size);

// "PNG", "JPEG", ...
std::string format_name(ImageFormat format);

// Describes bytes that are not a known image, for messages: "text", "an HTML page", "a PDF
// document", "a HEIC or AVIF image", ..., and the first bytes.
std::string describe_bytes(const uint8_t* data, std::size_t size);
// True for image formats that segrid recognises but does not read.
bool is_unsupported_image(const uint8_t* data, std::size_t size);

// Returns the damage of a file, such as "truncated: no IEND chunk". Empty if the file reaches its
// end marker and its checksums are right (PNG, JPEG), or if it is as long as its header states
// (WebP), and for all other formats.
std::string find_damage(const uint8_t* data, std::size_t size, ImageFormat format);

}  // namespace segrid
