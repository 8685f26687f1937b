#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "core/error.h"
#include "image/encode.h"

namespace segrid {
namespace {

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
    return {static_cast<int>(size.height), static_cast<int>(size.width), type,
            const_cast<void*>(data)};
}

}  // namespace

std::vector<uint8_t> encode_png_rgb(ImageView image) {
    cv::Mat bgr;
    const cv::Mat rgb(static_cast<int>(image.size.height), static_cast<int>(image.size.width),
                      CV_8UC3, const_cast<uint8_t*>(image.data),
                      static_cast<std::size_t>(image.stride));
    cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
    return encode(bgr);
}

std::vector<uint8_t> encode_png_gray16(const uint16_t* pixels, Size size) {
    return encode(view(pixels, size, CV_16U));
}

}  // namespace segrid
