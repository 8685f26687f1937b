#include "image/preprocess.h"

#include "core/error.h"
#include "kernels/resample/op.h"

namespace segrid {

ResizedImage::ResizedImage(ImageView crop, const FrameMap& frame, const PreprocessSpec& spec,
                           const Schedule& schedule) {
    if (crop.size != frame.crop()) internal("preprocess: the view is not the frame's crop");
    const Size to = frame.resized();
    const auto values = static_cast<std::size_t>(to.area()) * 3;
    const bool rounded = spec.resample == Resample::Bilinear || spec.resample == Resample::Bicubic;
    if (rounded) bytes_.resize(values);
    else floats_.resize(values);
    switch (spec.resample) {
        case Resample::Bilinear: resize_rgb(crop, bytes_.data(), to, schedule); break;
        case Resample::Bicubic: resize_rgb_bicubic(crop, bytes_.data(), to, schedule); break;
        case Resample::BilinearFloat:
            resize_rgb_unrounded(crop, floats_.data(), to, schedule);
            break;
        case Resample::BlurredBilinear:
            resize_rgb_blurred(crop, floats_.data(), to, schedule);
            break;
    }
}

}  // namespace segrid
