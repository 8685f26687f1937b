// One encoded image: an immutable value, usable from many threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "core/geometry.h"
#include "models/segmentation.h"

namespace segrid {

struct Embedding {
    FrameMap frame;     // the whole image in the model's square
    Features features;  // the encoder's, [grid area, channels] each, where the model is
    // What decoding an image alone adds to the image tokens, [channels]. Undefined: nothing, or the
    // features hold it already (those that were put back from where they had been kept so).
    at::Tensor no_memory;
    std::vector<FeatureShape> shapes;               // of the features
    std::shared_ptr<const DecoderContext> context;  // what decoding derives from it
    std::string model_id;                           // of the weights that made it

    Size image() const { return frame.image(); }
    // As an image alone is decoded: with no_memory.
    Features alone() const;
    // Those of alone(), and the encoder's own, in fp32 on the CPU; no copy where they are there.
    Features host_alone() const;
    Features host_features() const;
    at::Tensor host_no_memory() const;  // of a no_memory that is defined
    uint64_t content_hash() const;      // of image size, model and features
};

// A 64-bit hash of bytes, the same on every machine; not for security.
uint64_t hash_bytes(const void* data, std::size_t size, uint64_t seed = 0);

}  // namespace segrid
