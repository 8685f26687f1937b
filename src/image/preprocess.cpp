#include "image/preprocess.h"

#include "core/error.h"
#include "kernels/resample/op.h"

namespace segrid {

ResizedImage::ResizedImage(ImageView crop, const FrameMap& frame, bool rounded, const Schedule& schedule) {
    if (crop.size != frame.crop()) internal("preprocess: the view is not the frame's crop");
    const auto values = static_cast<std::size_t>(frame.resized().area()) * 3;
    if (rounded) {
        bytes_.resize(values);
        resize_rgb(crop, bytes_.data(), frame.resized(), schedule);
    } else {
        floats_.resize(values);
        resize_rgb_unrounded(crop, floats_.data(), frame.resized(), schedule);
    }
}

}  // namespace segrid
