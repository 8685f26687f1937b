// Files and bytes to RGB.
//
// Rules, the same for every format:
//   EXIF orientation  applied exactly once
//   16 bits           v -> round(v / 257), so 65535 -> 255 and 0 -> 0 (halves cannot occur: 257 is
//   odd) gray              R = G = B alpha             dropped; colours are what the file holds
//   (not composited over anything) palette           expanded CMYK JPEG         R = (255 - C)(255 -
//   K) / 255, and so on: no colour profile is applied, of any image several frames    the first
//   one, with a warning
// Formats: PNG, JPEG. Headers of BMP and WebP are checked, too; Python's `_image.py` decodes them,
// TIFF and more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/views.h"
#include "image/probe.h"

namespace segrid {

// Owner of H x W x 3 uint8 RGB. A value: copies share the pixels, which nobody changes.
class Image {
public:
    Image() = default;
    // pixels: size.height rows, `stride` bytes apart; the pointer (with whatever it owns) is kept.
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

// Of an encoded image: decoders count its bytes in an int.
inline constexpr std::size_t kMaxImageBytes = 0x7FFFFFFF;

struct DecodeOptions {
    int64_t max_pixels = 200'000'000;  // read from the header, before anything is allocated
    bool lenient = false;  // a damaged file gives what could be decoded (the rest is black or
                           // gray), with a warning
    std::vector<std::string>* warnings = nullptr;  // where warnings go; nowhere when null
};

// Errors, all of which name the file: Corrupt (empty, not an image, truncated, damaged),
// Unsupported (a format or bit depth that is not read), InvalidInput (more than max_pixels),
// OutOfMemory. name stands for the path in messages. The bytes are read only during the call.
Image decode_bytes(const uint8_t* data, std::size_t size, const DecodeOptions& options,
                   const std::string& name);

// What decode_bytes checks before it decodes, with the same errors and warnings: for those who
// decode elsewhere.
ImageHeader inspect_bytes(const uint8_t* data, std::size_t size, const DecodeOptions& options,
                          const std::string& name);

}  // namespace segrid
