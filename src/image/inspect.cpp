// Refuses an image file, or warns about it, before any decoder sees it. The same in every build.
#include <algorithm>

#include "core/error.h"
#include "image/image.h"
#include "image/probe.h"

namespace segrid {
namespace {

void warn(const DecodeOptions& options, const std::string& message) {
    if (options.warnings != nullptr) options.warnings->push_back(message);
}

}  // namespace

ImageHeader inspect_bytes(const uint8_t* data, std::size_t size, const DecodeOptions& options,
                          const std::string& name) {
    if (size == 0) fail(ErrorKind::Corrupt, "empty file: " + name);
    if (size > kMaxImageBytes)
        invalid(name + ": " + human_bytes(size) + " of image data; the limit is " +
                human_bytes(kMaxImageBytes));
    const ImageHeader header = probe_image(data, size);
    if (is_unsupported_image(data, size)) {
        fail(ErrorKind::Unsupported, name + ": " + describe_bytes(data, size) +
                                         " is not read; convert it to PNG, JPEG, BMP or WebP");
    }
    if (header.format == ImageFormat::Unknown)
        fail(ErrorKind::Corrupt, name + ": not an image, but " + describe_bytes(data, size));
    const std::string format = format_name(header.format);
    if (header.size.height < 1 || header.size.width < 1)
        fail(ErrorKind::Corrupt, name + ": the header of the " + format + " cannot be read");
    const int64_t limit = std::min(options.max_pixels, kMaxImagePixels);
    if (header.size.height > limit / header.size.width) {
        invalid(name + ": " + std::to_string(header.size.width) + " x " +
                std::to_string(header.size.height) + " pixels; the limit is " +
                std::to_string(limit) + " pixels (max_pixels)");
    }
    if (header.bit_depth > 16) {
        fail(ErrorKind::Unsupported, name + ": " + std::to_string(header.bit_depth) +
                                         "-bit samples are not read; scale them to 8 or 16 bits");
    }
    const std::string damage = find_damage(data, size, header.format);
    if (!damage.empty()) {
        if (!options.lenient)
            fail(ErrorKind::Corrupt, name + ": " + format + " " + damage +
                                         " (lenient=True returns what can be decoded)");
        warn(options, name + ": " + format + " " + damage);
    }
    if (header.animated)
        warn(options,
             name + ": " + format + " with several frames or pages; the first one is used");
    return header;
}

}  // namespace segrid
