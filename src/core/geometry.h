// Frames and the one place that converts between them.
//
// There are three coordinate systems. Each is a type of its own, so that a point of one cannot be
// used as a point of another:
//   Image  pixels of the original image; every public boundary uses this one
//   Crop   pixels of one crop of the image (a crop that is the whole image has offset 0,0)
//   Model  pixels of the square the model sees (its side is PreprocessSpec::side)
// Boxes are XYXY. Whether the maximum is inclusive is stated where a box is used.
#pragma once

#include <cstdint>
#include <string>

namespace segrid {

struct Size {
    int64_t height = 0;
    int64_t width = 0;
    bool operator==(const Size&) const = default;
    int64_t area() const { return height * width; }
};

// The limit for any image or mask: runs count pixels in 32 bits.
inline constexpr int64_t kMaxImagePixels = 4'000'000'000;
// Throws InvalidInput, naming `what`, if a size is not positive or has more than kMaxImagePixels.
void check_size(const char* what, Size size);

enum class Frame { Image, Crop, Model };

template <Frame F>
struct PointIn {
    double x = 0;
    double y = 0;
    bool operator==(const PointIn&) const = default;
};

template <Frame F>
struct BoxIn {
    double x0 = 0;
    double y0 = 0;
    double x1 = 0;
    double y1 = 0;
    bool operator==(const BoxIn&) const = default;
};

using ImagePoint = PointIn<Frame::Image>;
using CropPoint = PointIn<Frame::Crop>;
using ModelPoint = PointIn<Frame::Model>;
using ImageBox = BoxIn<Frame::Image>;
using CropBox = BoxIn<Frame::Crop>;
using ModelBox = BoxIn<Frame::Model>;

// How a family fits an image into its square input.
enum class Resize {
    // SAM: keeps the aspect ratio; the long side becomes `side`. After normalising, zeros fill the
    // rest at the bottom or right.
    LongestSidePad,
    // SAM 2, OWL-ViT: side x side, no padding.
    Squash,
    // OWLv2: zeros at the bottom or right make the image square, then it is resized to side x side.
    PadThenSquash,
};
// The filter that resizes it.
enum class Resample {
    Bilinear,         // Pillow's, antialiased, rounded to 8 bits
    Bicubic,          // Pillow's, antialiased, rounded to 8 bits
    BilinearFloat,    // torch's, antialiased, not rounded
    BlurredBilinear,  // SciPy's: a Gaussian if the image shrinks, then bilinear, not rounded
};

struct PreprocessSpec {
    Resize resize = Resize::LongestSidePad;
    Resample resample = Resample::Bilinear;
    int64_t side = 1024;
    float mean[3] = {123.675F, 116.28F, 103.53F};  // of RGB in 0..255
    float std[3] = {58.395F, 57.12F, 57.375F};

    // The size of the resized image inside the side x side square (segment-anything's
    // get_preprocess_shape).
    Size resized(Size image) const;
};

// Maps one crop of an image into the model's square. Owns all scale factors.
class FrameMap {
public:
    FrameMap() = default;
    // crop: a rectangle of whole pixels in the image, exclusive maximum. Throws InvalidInput if it
    // is empty or not inside the image.
    FrameMap(Size image, ImageBox crop, const PreprocessSpec& spec);

    Size image() const { return image_; }
    Size crop() const { return crop_; }
    Size resized() const { return resized_; }  // the part of the model's square that holds image
    int64_t side() const { return side_; }
    ImageBox crop_box() const { return box_; }  // exclusive maximum

    ModelPoint to_model(ImagePoint p) const { return to_model(to_crop(p)); }
    ModelPoint to_model(CropPoint p) const;
    ModelBox to_model(ImageBox b) const;
    CropPoint to_crop(ImagePoint p) const { return {p.x - box_.x0, p.y - box_.y0}; }
    ImagePoint to_image(CropPoint p) const { return {p.x + box_.x0, p.y + box_.y0}; }

private:
    Size image_, crop_, resized_;
    int64_t side_ = 0;
    ImageBox box_;
};

}  // namespace segrid
