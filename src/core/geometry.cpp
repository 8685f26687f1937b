#include "core/geometry.h"

#include <algorithm>

#include "core/error.h"

namespace segrid {

void check_size(const char* what, Size size) {
    const auto text = [&] {
        return std::string(what) + ": " + std::to_string(size.height) + " x " +
               std::to_string(size.width) + " pixels; ";
    };
    if (size.height < 1 || size.width < 1) invalid(text() + "both must be at least 1");
    if (size.height > kMaxImagePixels / size.width)
        invalid(text() + "the limit is " + std::to_string(kMaxImagePixels) + " (kMaxImagePixels)");
}

Size PreprocessSpec::resized(Size image) const {
    if (resize != Resize::LongestSidePad) return {side, side};
    const double scale =
        static_cast<double>(side) * 1.0 / static_cast<double>(std::max(image.height, image.width));
    // int(x + 0.5) as in segment-anything; a 20000 x 4 image still keeps one row.
    const auto scaled = [&](int64_t n) {
        return std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(n) * scale + 0.5));
    };
    return {scaled(image.height), scaled(image.width)};
}

FrameMap::FrameMap(Size image, ImageBox crop, const PreprocessSpec& spec)
    : image_(image), side_(spec.side), box_(crop) {
    crop_ = {static_cast<int64_t>(crop.y1 - crop.y0), static_cast<int64_t>(crop.x1 - crop.x0)};
    if (crop_.height <= 0 || crop_.width <= 0 || crop.x0 < 0 || crop.y0 < 0 ||
        crop.x1 > static_cast<double>(image.width) || crop.y1 > static_cast<double>(image.height)) {
        invalid("crop: must be a non-empty rectangle inside the image of " +
                std::to_string(image.height) + " x " + std::to_string(image.width) + " pixels");
    }
    resized_ = spec.resized(crop_);
}

ModelPoint FrameMap::to_model(CropPoint p) const {
    return {p.x * (static_cast<double>(resized_.width) / static_cast<double>(crop_.width)),
            p.y * (static_cast<double>(resized_.height) / static_cast<double>(crop_.height))};
}

ModelBox FrameMap::to_model(ImageBox b) const {
    const ModelPoint lo = to_model(ImagePoint{b.x0, b.y0});
    const ModelPoint hi = to_model(ImagePoint{b.x1, b.y1});
    return {lo.x, lo.y, hi.x, hi.y};
}

}  // namespace segrid
