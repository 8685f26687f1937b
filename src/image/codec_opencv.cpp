#include <algorithm>
#include <cstdlib>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "core/error.h"
#include "image/encode.h"
#include "image/image.h"
#include "image/probe.h"

namespace segrid {
namespace {

// One pixel of what OpenCV returned to RGB, by the rules in image.h.
template <class T>
void to_rgb(const cv::Mat& from, int64_t y, uint8_t* out) {
    const T* p = from.ptr<T>(static_cast<int>(y));
    const int channels = from.channels();
    const auto eight = [](T v) { return static_cast<uint8_t>(sizeof(T) == 2 ? (v * 2 + 257) / 514 : v); };
    for (int x = 0; x < from.cols; ++x, p += channels, out += 3) {
        out[0] = eight(p[channels >= 3 ? 2 : 0]);
        out[1] = eight(p[channels >= 3 ? 1 : 0]);
        out[2] = eight(p[0]);
    }
}

// Where pixel (y, x) of the stored image lies in the upright one.
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

// The common case: the decoder's own memory, its colours swapped where they lie.
Image swapped(cv::Mat bgr) {
    for (int y = 0; y < bgr.rows; ++y) {
        auto* p = bgr.ptr<uint8_t>(y);
        for (int x = 0; x < bgr.cols; ++x, p += 3) std::swap(p[0], p[2]);
    }
    const Size size{bgr.rows, bgr.cols};
    const auto stride = static_cast<int64_t>(bgr.step);
    uint8_t* pixels = bgr.data;
    return {std::shared_ptr<uint8_t>(pixels, [owner = std::move(bgr)](uint8_t*) {}), size, stride};
}

Image convert(cv::Mat from, int orientation) {
    if (from.type() == CV_8UC3 && orientation == 1) return swapped(std::move(from));
    const Upright upright{orientation, {from.rows, from.cols}};
    const auto bytes = static_cast<std::size_t>(upright.stored.area()) * 3;
    std::shared_ptr<uint8_t> pixels(static_cast<uint8_t*>(std::malloc(bytes)), std::free);
    if (pixels == nullptr) out_of_memory("image", bytes);
    std::vector<uint8_t> row(static_cast<std::size_t>(from.cols) * 3);
    for (int64_t y = 0; y < from.rows; ++y) {
        uint8_t* line = orientation == 1 ? pixels.get() + y * from.cols * 3 : row.data();
        if (from.depth() == CV_16U) to_rgb<uint16_t>(from, y, line);
        else to_rgb<uint8_t>(from, y, line);
        if (orientation == 1) continue;
        for (int64_t x = 0; x < from.cols; ++x) std::copy_n(line + 3 * x, 3, pixels.get() + 3 * upright.place(y, x));
    }
    return {std::move(pixels), upright.size(), upright.size().width * 3};
}

// OpenCV turns TIFFs upright even when it is told not to: hand it a copy that says it is upright, and turn all formats ourselves.
std::vector<uint8_t> without_orientation(const uint8_t* data, std::size_t size, const ImageHeader& header) {
    std::vector<uint8_t> copy(data, data + size);
    copy[header.orientation_at] = header.big_endian ? 0 : 1;
    copy[header.orientation_at + 1] = header.big_endian ? 1 : 0;
    return copy;
}

std::vector<uint8_t> encode(const cv::Mat& pixels) {
    std::vector<uint8_t> bytes;
    try {
        if (!cv::imencode(".png", pixels, bytes)) internal("PNG encoding failed");
    } catch (const cv::Exception& e) {
        internal(std::string("PNG encoding failed: ") + e.what());
    }
    return bytes;
}

cv::Mat view(const void* data, Size size, int type) {
    return {static_cast<int>(size.height), static_cast<int>(size.width), type, const_cast<void*>(data)};
}

}  // namespace

Image decode_bytes(const uint8_t* data, std::size_t size, const DecodeOptions& options, const std::string& name) {
    const ImageHeader header = inspect_bytes(data, size, options, name);
    const std::string format = format_name(header.format);
    std::vector<uint8_t> upright;
    if (header.format == ImageFormat::Tiff && header.orientation != 1 && header.orientation_at + 1 < size) {
        upright = without_orientation(data, size, header);
        data = upright.data();
    }
    cv::Mat decoded;
    std::string reason = "cannot be decoded";
    try {
        const cv::Mat raw(1, static_cast<int>(size), CV_8U, const_cast<uint8_t*>(data));
        decoded = cv::imdecode(raw, cv::IMREAD_UNCHANGED);
        // Sample layouts that IMREAD_UNCHANGED leaves alone in ways we do not know: let OpenCV make colour of them.
        if (!decoded.empty() && decoded.channels() == 2) decoded = cv::imdecode(raw, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
    } catch (const cv::Exception& e) {
        if (e.code == cv::Error::StsNoMem) out_of_memory(name, static_cast<std::size_t>(header.size.area()) * 3);
        reason = std::string("cannot be decoded: ") + e.err;
    }
    if (decoded.empty()) fail(ErrorKind::Corrupt, name + ": " + format + " " + reason);
    if (decoded.depth() != CV_8U && decoded.depth() != CV_16U) {
        fail(ErrorKind::Unsupported, name + ": samples are neither 8-bit nor 16-bit unsigned");
    }
    if (decoded.rows != header.size.height || decoded.cols != header.size.width) {
        fail(ErrorKind::Corrupt, name + ": " + format + " decodes to another size than its header says");
    }
    return convert(std::move(decoded), header.orientation);
}

std::vector<uint8_t> encode_png_rgb(ImageView image) {
    cv::Mat bgr;
    const cv::Mat rgb(static_cast<int>(image.size.height), static_cast<int>(image.size.width), CV_8UC3,
                      const_cast<uint8_t*>(image.data), static_cast<std::size_t>(image.stride));
    cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
    return encode(bgr);
}

std::vector<uint8_t> encode_png_gray16(const uint16_t* pixels, Size size) { return encode(view(pixels, size, CV_16U)); }

}  // namespace segrid
