// From encoded bytes to an upright image: inspects, decodes, applies the orientation.
#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "image/codecs.h"
#include "image/image.h"

namespace segrid {
namespace {

using Pixels = std::shared_ptr<uint8_t>;

Pixels black(Size size, const std::string& name) {
    const std::size_t bytes = static_cast<std::size_t>(size.area()) * 3;
    Pixels pixels(static_cast<uint8_t*>(std::calloc(bytes, 1)), std::free);
    if (pixels == nullptr) out_of_memory(name, bytes);
    return pixels;
}

// Maps pixel (y, x) of the stored image to its index in the upright one.
struct Upright {
    int orientation;
    Size stored;
    Size size() const { return orientation >= 5 ? Size{stored.width, stored.height} : stored; }
    int64_t place(int64_t y, int64_t x) const {
        const int64_t h = stored.height, w = stored.width;
        switch (orientation) {
            case 2: return y * w + (w - 1 - x);
            case 3: return (h - 1 - y) * w + (w - 1 - x);
            case 4: return (h - 1 - y) * w + x;
            case 5: return x * h + y;
            case 6: return x * h + (h - 1 - y);
            case 7: return (w - 1 - x) * h + (h - 1 - y);
            case 8: return (w - 1 - x) * h + y;
            default: return y * w + x;
        }
    }
};

Image turned(Pixels stored, Size size, int orientation, const std::string& name) {
    if (orientation == 1) return {std::move(stored), size, size.width * 3};
    const Upright upright{orientation, size};
    const Pixels pixels = black(upright.size(), name);
    const uint8_t* from = stored.get();
    for (int64_t y = 0; y < size.height; ++y) {
        for (int64_t x = 0; x < size.width; ++x, from += 3)
            std::copy_n(from, 3, pixels.get() + 3 * upright.place(y, x));
    }
    return {pixels, upright.size(), upright.size().width * 3};
}

}  // namespace

Image decode_bytes(const uint8_t* data, std::size_t size, const DecodeOptions& options,
                   const std::string& name) {
    const ImageHeader header = inspect_bytes(data, size, options, name);
    const std::string format = format_name(header.format);
    const bool jpeg = header.format == ImageFormat::Jpeg;
    if (!jpeg && header.format != ImageFormat::Png)
        fail(ErrorKind::Unsupported, name + ": " + format + " is not decoded by the engine itself");
    Pixels pixels = black(header.size, name);
    const Encoded from{data, size, header.size};
    const Decoded outcome = jpeg ? decode_jpeg(from, pixels.get()) : decode_png(from, pixels.get());
    // Does not repeat a warning that inspect_bytes has already given.
    const auto warn = [&](const std::string& what) {
        const bool said = options.lenient && !find_damage(data, size, header.format).empty();
        if (options.warnings != nullptr && !said)
            options.warnings->push_back(name + ": " + format + " " + what);
    };
    if (!outcome.error.empty()) {
        // The pixels begin black. Where all of them still are, there is no part to return.
        const uint8_t* begin = pixels.get();
        const bool nothing = std::all_of(begin, begin + 3 * header.size.area(),
                                         [](uint8_t level) { return level == 0; });
        if (nothing || !options.lenient) {
            fail(ErrorKind::Corrupt, name + ": " + format + " cannot be decoded: " + outcome.error +
                                         (nothing ? "; no part of it can be decoded"
                                                  : " (lenient=True returns what can be decoded)"));
        }
    }
    if (!outcome.error.empty()) warn("cannot be decoded to its end: " + outcome.error);
    if (!outcome.damaged.empty()) warn("is damaged, its pixels may be wrong: " + outcome.damaged);
    return turned(std::move(pixels), header.size, header.orientation, name);
}

}  // namespace segrid
