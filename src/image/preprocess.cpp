#include "image/preprocess.h"

#include "core/error.h"
#include "kernels/resample/op.h"

namespace segrid {

void resize_for_model(ImageView crop, const FrameMap& frame, uint8_t* resized, Arena& arena) {
    if (crop.size != frame.crop()) internal("preprocess: the view is not the frame's crop");
    resize_rgb(crop, resized, frame.resized(), arena);
}

void normalise_row(const uint8_t* rgb_row, int64_t width, const PreprocessSpec& spec, float* const out_planar[3]) {
    for (int64_t x = 0; x < width; ++x) {
        for (int c = 0; c < 3; ++c) out_planar[c][x] = (static_cast<float>(rgb_row[3 * x + c]) - spec.mean[c]) / spec.std[c];
    }
}

}  // namespace segrid
