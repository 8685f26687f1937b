#include "image/preprocess.h"

#include "core/error.h"
#include "kernels/resample/op.h"

namespace segrid {

void resize_for_model(ImageView crop, const FrameMap& frame, uint8_t* resized, const Schedule& schedule) {
    if (crop.size != frame.crop()) internal("preprocess: the view is not the frame's crop");
    resize_rgb(crop, resized, frame.resized(), schedule);
}

}  // namespace segrid
