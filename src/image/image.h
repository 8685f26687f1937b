// Files and bytes to RGB.
//
// The rules are the same for every format:
//   EXIF orientation  applied exactly once
//   16 bits           v -> round(v / 257), so 65535 -> 255 and 0 -> 0; 257 is odd: no ties
//   gray              R = G = B
//   alpha             dropped; colours stay as the file holds them, not composited over anything
//   palette           expanded
//   CMYK JPEG         R = (255 - C)(255 - K) / 255, and likewise G and B
//   colour profiles   never applied
//   several frames    the first one is used, with a warning
// Formats: PNG and JPEG. Headers of BMP and WebP are checked here too; Python's `_image.py` decodes
// them, TIFF and others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/views.h"
#include "image/probe.h"

namespace segrid {

// Owner of H x W x 3 uint8 RGB. A value: copies share the pixels, which never change.
class Image {
public:
    Image() = default;
    // pixels: size.height rows, `stride` bytes apart. The pointer, with whatever it owns, is kept.
    Image(std::shared_ptr<const uint8_t> pixels, Size size, int64_t stride)
        : pixels_(std::move(pixels)), size_(size), stride_(stride) {}

    ImageView view() const { return {pixels_.get(), size_, stride_}; }
    Size size() const { return size_; }
    bool empty() const { return pixels_ == nullptr; }
    const std::shared_ptr<const uint8_t>& pixels() const { return pixels_; }

private:
    std::shared_ptr<const uint8_t> pixels_;
    Size size_;
    int64_t stride_ = 0;
};

// The limit for an encoded image, because decoders count its bytes in an int.
inline constexpr std::size_t kMaxImageBytes = 0x7FFFFFFF;

struct DecodeOptions {
    // Checked against the header before anything is allocated.
    int64_t max_pixels = 200'000'000;
    // A damaged file gives the part that can be decoded (the rest is black or gray) and a warning.
    bool lenient = false;
    // Receives the warnings; null discards them.
    std::vector<std::string>* warnings = nullptr;
};

// Throws Corrupt (empty, not an image, truncated, damaged), Unsupported (a format or bit depth that
// is not read), InvalidInput (more than max_pixels) or OutOfMemory; every message names the file.
// name stands for the path in messages. The bytes are read only during the call.
Image decode_bytes(const uint8_t* data, std::size_t size, const DecodeOptions& options,
                   const std::string& name);

// Makes the checks of decode_bytes, with the same errors and warnings, for callers that decode
// elsewhere.
ImageHeader inspect_bytes(const uint8_t* data, std::size_t size, const DecodeOptions& options,
                          const std::string& name);

}  // namespace segrid
