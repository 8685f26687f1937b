// The first layers of convolutional image encoders (MobileSAM's TinyViT, EdgeTAM's RepViT): two 3x3
// convolutions of stride 2 with a GELU between them, each with its BatchNorm.
#pragma once

#include "core/thread_pool.h"
#include "models/model_input.h"
#include "nn/convolution.h"

namespace segrid {

class ConvolutionStem {
public:
    // side: of the model's square, in pixels; a multiple of 4. out: channels of the result, of
    // which the first convolution gives half.
    ConvolutionStem(const WeightScope& first, const WeightScope& second, int64_t side, int64_t out);
    // Returns [(side / 4)^2, out]. Pixels beyond the input are zeros after normalisation.
    at::Tensor operator()(const ModelInput& input, const PreprocessSpec& spec,
                          const Schedule& schedule) const;

private:
    int64_t side_, out_;
    StridedConvolution first_, second_;
};

}  // namespace segrid
