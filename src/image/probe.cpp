#include "image/probe.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

namespace segrid {
namespace {

// Bounds-checked reads; every byte beyond the end reads as 0.
struct Bytes {
    const uint8_t* data;
    std::size_t size;
    bool big = true;

    uint32_t u8(std::size_t at) const { return at < size ? data[at] : 0; }
    uint32_t u16(std::size_t at) const {
        return big ? u8(at) << 8 | u8(at + 1) : u8(at + 1) << 8 | u8(at);
    }
    uint32_t u32(std::size_t at) const {
        return big ? u16(at) << 16 | u16(at + 2) : u16(at + 2) << 16 | u16(at);
    }
    bool is(std::size_t at, std::string_view text) const {
        return at <= size && size - at >= text.size() &&
               std::memcmp(data + at, text.data(), text.size()) == 0;
    }
};

int valid_orientation(uint32_t v) { return v >= 1 && v <= 8 ? static_cast<int>(v) : 1; }

// Calls f(tag, type, count, value position) for the entries of the first directory of a TIFF
// structure that begins at `base`.
template <class F>
void first_directory(Bytes b, std::size_t base, const F& f) {
    b.big = b.is(base, "MM");
    const std::size_t directory = base + b.u32(base + 4);
    // A camera writes some dozens of entries.
    const uint32_t entries = std::min<uint32_t>(b.u16(directory), 4096);
    for (uint32_t i = 0; i < entries; ++i) {
        const std::size_t at = directory + 2 + 12 * std::size_t{i};
        if (at + 12 > b.size) return;
        f(b, b.u16(at), b.u16(at + 2), b.u32(at + 4), at + 8);
    }
}

int exif_orientation(const Bytes& b, std::size_t tiff) {
    int orientation = 1;
    if (!b.is(tiff, "II") && !b.is(tiff, "MM")) return orientation;
    first_directory(b, tiff,
                    [&](const Bytes& t, uint32_t tag, uint32_t type, uint32_t, std::size_t value) {
                        if (tag == 0x0112 && type == 3)
                            orientation = valid_orientation(t.u16(value));
                    });
    return orientation;
}

void probe_png(const Bytes& b, ImageHeader& h) {
    if (!b.is(12, "IHDR") || b.size < 24) return;
    bool exif = false;  // only the first block counts
    h.size = {b.u32(20), b.u32(16)};
    h.bit_depth = static_cast<int>(b.u8(24));
    const uint32_t type = b.u8(25);
    h.palette = type == 3;
    h.channels = type == 2 ? 3 : type == 4 ? 2 : type == 6 ? 4 : 1;
    for (std::size_t at = 8; at + 12 <= b.size;) {
        const std::size_t length = b.u32(at);
        if (b.is(at + 4, "acTL")) h.animated = b.u32(at + 8) > 1;
        if (b.is(at + 4, "eXIf") && !std::exchange(exif, true))
            h.orientation = exif_orientation(b, at + 8);
        if (length > b.size) return;
        at += 12 + length;
    }
}

// Calls f(marker, place) for the segments before the compressed data. Returns where the compressed
// data begins, or the size if there is none.
template <class F>
std::size_t jpeg_segments(const Bytes& b, const F& f) {
    for (std::size_t at = 2; at + 4 <= b.size;) {
        if (b.u8(at) != 0xFF) {
            ++at;
            continue;
        }
        const uint32_t marker = b.u8(at + 1);
        if (marker == 0xFF || marker == 0 || marker == 1 || (marker >= 0xD0 && marker <= 0xD8)) {
            at += marker == 0xFF ? 1 : 2;
            continue;
        }
        if (marker == 0xD9) return b.size;
        if (marker == 0xDA) return at;
        f(marker, at);
        at += 2 + std::max<std::size_t>(b.u16(at + 2), 2);
    }
    return b.size;
}

void probe_jpeg(const Bytes& b, ImageHeader& h) {
    bool exif = false;  // only the first block counts
    jpeg_segments(b, [&](uint32_t marker, std::size_t at) {
        if (marker == 0xE1 && b.is(at + 4, std::string_view("Exif\0\0", 6)) &&
            !std::exchange(exif, true))
            h.orientation = exif_orientation(b, at + 10);
        if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 &&
            marker != 0xCC && at + 10 <= b.size) {
            h.bit_depth = static_cast<int>(b.u8(at + 4));
            h.size = {b.u16(at + 5), b.u16(at + 7)};
            h.channels = static_cast<int>(b.u8(at + 9));
        }
    });
}

void probe_bmp(Bytes b, ImageHeader& h) {
    b.big = false;
    const bool os2 = b.u32(14) == 12;  // the old header has 16-bit sizes
    const auto width = static_cast<int32_t>(b.u32(18)), height = static_cast<int32_t>(b.u32(22));
    h.size = {height < 0 ? -int64_t{height} : height, width};
    if (os2) h.size = {b.u16(20), b.u16(18)};
    const uint32_t bits = b.u16(os2 ? 24 : 28);
    h.bit_depth = 8;
    h.channels = bits == 32 ? 4 : bits == 24 ? 3 : 1;
    h.palette = bits <= 8;
}

void probe_webp(Bytes b, ImageHeader& h) {
    b.big = false;
    bool exif = false;  // only the first block counts
    h.bit_depth = 8;
    h.channels = 3;
    const auto u24 = [&](std::size_t at) {
        return int64_t{b.u16(at)} | int64_t{b.u8(at + 2)} << 16;
    };
    if (b.is(12, "VP8X") && b.size >= 30) {
        h.size = {u24(27) + 1, u24(24) + 1};
        h.animated = (b.u8(20) & 2) != 0;
        for (std::size_t at = 12; at + 8 <= b.size;) {
            const std::size_t length = b.u32(at + 4);
            if (b.is(at, "EXIF") && !std::exchange(exif, true))
                h.orientation = exif_orientation(b, b.is(at + 8, "Exif") ? at + 14 : at + 8);
            if (length > b.size) return;
            at += 8 + length + length % 2;
        }
    } else if (b.is(12, "VP8L") && b.size >= 25) {
        const uint32_t v = b.u32(21);
        h.size = {static_cast<int64_t>(v >> 14 & 0x3FFF) + 1, static_cast<int64_t>(v & 0x3FFF) + 1};
    } else if (b.is(12, "VP8 ") && b.size >= 30) {
        h.size = {b.u16(28) & 0x3FFF, b.u16(26) & 0x3FFF};
    }
}

uint32_t crc32(const uint8_t* data, std::size_t size) {
    static const auto table = [] {
        std::array<uint32_t, 256> t{};
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t c = i;
            for (int k = 0; k < 8; ++k) c = c & 1 ? 0xEDB88320U ^ (c >> 1) : c >> 1;
            t[i] = c;
        }
        return t;
    }();
    uint32_t c = 0xFFFFFFFFU;
    for (std::size_t i = 0; i < size; ++i) c = table[(c ^ data[i]) & 0xFF] ^ (c >> 8);
    return ~c;
}

std::string png_damage(const Bytes& b) {
    for (std::size_t at = 8; at + 12 <= b.size;) {
        const std::size_t length = b.u32(at);
        if (length > b.size || at + 12 + length > b.size) return "truncated inside a chunk";
        if (crc32(b.data + at + 4, length + 4) != b.u32(at + 8 + length))
            return "damaged: a chunk's checksum is wrong";
        if (b.is(at + 4, "IEND")) return "";
        at += 12 + length;
    }
    return "truncated: no IEND chunk";
}

std::string jpeg_damage(const Bytes& b) {
    // Starts at the scan, because a thumbnail before it has an end marker of its own.
    const std::size_t scan = jpeg_segments(b, [](uint32_t, std::size_t) {});
    // Goes backwards, because bytes after the end marker do no harm.
    for (std::size_t at = b.size; at >= scan + 4; --at) {
        if (b.data[at - 2] == 0xFF && b.data[at - 1] == 0xD9) return "";
    }
    return "truncated: no end-of-image marker";
}

}  // namespace

ImageHeader probe_image(const uint8_t* data, std::size_t size) {
    const Bytes b{data, size};
    ImageHeader h;
    if (b.is(0, "\x89PNG\r\n\x1a\n")) {
        h.format = ImageFormat::Png;
        probe_png(b, h);
    } else if (b.is(0, "\xFF\xD8\xFF")) {
        h.format = ImageFormat::Jpeg;
        probe_jpeg(b, h);
    } else if (b.is(0, "GIF87a") || b.is(0, "GIF89a")) {
        h.format = ImageFormat::Gif;
    } else if (b.is(0, "BM") && size > 26) {
        h.format = ImageFormat::Bmp;
        probe_bmp(b, h);
    } else if (b.is(0, "RIFF") && b.is(8, "WEBP")) {
        h.format = ImageFormat::WebP;
        probe_webp(b, h);
    }
    return h;
}

std::string format_name(ImageFormat format) {
    static constexpr const char* names[] = {"unknown", "PNG", "JPEG", "GIF", "BMP", "WebP"};
    return names[static_cast<std::size_t>(format)];
}

bool is_unsupported_image(const uint8_t* data, std::size_t size) {
    const Bytes b{data, size};
    return b.is(0, "GIF8") || b.is(0, std::string_view("II*\0", 4)) ||
           b.is(0, std::string_view("MM\0*", 4)) || b.is(4, "ftypheic") || b.is(4, "ftypavif") ||
           b.is(4, "ftypmif1") || b.is(0, "8BPS") || b.is(0, std::string_view("\0\0\1\0", 4)) ||
           b.is(4, "jP  ") || b.is(0, "\xFF\x0A");
}

std::string describe_bytes(const uint8_t* data, std::size_t size) {
    const Bytes b{data, size};
    std::string kind = "unknown data";
    const std::size_t shown = std::min<std::size_t>(size, 16);
    const bool text = std::all_of(data, data + std::min<std::size_t>(size, 512), [](uint8_t c) {
        return c >= 32 || c == '\n' || c == '\r' || c == '\t';
    });
    if (b.is(0, "GIF8")) kind = "a GIF image";
    else if (b.is(0, std::string_view("II*\0", 4)) || b.is(0, std::string_view("MM\0*", 4)))
        kind = "a TIFF image";
    else if (b.is(4, "ftyphei") || b.is(4, "ftypavif") || b.is(4, "ftypmif1"))
        kind = "a HEIC or AVIF image";
    else if (b.is(0, "%PDF")) kind = "a PDF document";
    else if (b.is(0, "PK\3\4")) kind = "a ZIP archive";
    else if (b.is(0, "<!DOCTYPE") || b.is(0, "<!doctype") || b.is(0, "<html") || b.is(0, "<HTML"))
        kind = "an HTML page";
    else if (text) kind = "text";
    std::string first;
    for (std::size_t i = 0; i < shown; ++i) {
        if (data[i] >= 32 && data[i] < 127) {
            first += static_cast<char>(data[i]);
        } else {
            char hex[5];
            std::snprintf(hex, sizeof hex, "\\x%02x", data[i]);
            first += hex;
        }
    }
    return kind + " (begins with '" + first + "')";
}

std::string find_damage(const uint8_t* data, std::size_t size, ImageFormat format) {
    const Bytes b{data, size, format != ImageFormat::WebP};
    if (format == ImageFormat::Png) return png_damage(b);
    if (format == ImageFormat::Jpeg) return jpeg_damage(b);
    if (format == ImageFormat::WebP && std::size_t{b.u32(4)} + 8 > size)
        return "truncated: shorter than its header says";
    return "";
}

}  // namespace segrid
