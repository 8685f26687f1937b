// One encoded image: an immutable value, usable from many threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "core/geometry.h"
#include "models/segmentation.h"

namespace segrid {

struct Embedding {
    FrameMap frame;                    // the whole image in the model's square
    Features features;                 // [grid area, channels] each, where the model is
    std::vector<FeatureShape> shapes;  // of the features
    std::shared_ptr<const DecoderContext> context;  // what decoding derives from it
    std::string model_id;                           // of the weights that made it

    Size image() const { return frame.image(); }
    // In fp32 on the CPU: the features themselves where they are there, else a copy.
    Features host_features() const;
    uint64_t content_hash() const;  // of image size, model and features
};

// A 64-bit hash of bytes, the same on every machine; not for security.
uint64_t hash_bytes(const void* data, std::size_t size, uint64_t seed = 0);

}  // namespace segrid
