// One encoded image: an immutable value that any number of threads may use.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "core/geometry.h"
#include "models/segmentation.h"

namespace segrid {

struct Embedding {
    FrameMap frame;     // maps the whole image to the model's square
    Features features;  // the encoder's, [grid area, channels] each, on the model's device
    // The vector that is added to the image tokens when an image is decoded alone, [channels].
    // Undefined if the model has none, or if restored features already include it.
    at::Tensor no_memory;
    std::vector<FeatureShape> shapes;  // of the features
    // Derived from alone() for decoding. Null for a video frame; Segmenter::prepared() makes it.
    std::shared_ptr<const DecoderContext> context;
    std::string model_id;  // of the weights that made the features

    Size image() const { return frame.image(); }
    // The features from which an image alone is decoded: with no_memory added.
    Features alone() const;
    // alone() and features, in fp32 on the CPU. Tensors that already are so are not copied.
    Features host_alone() const;
    Features host_features() const;
    at::Tensor host_no_memory() const;  // in fp32 on the CPU; no_memory must be defined
    // The memory of its tensors, of which those that share memory count once.
    int64_t bytes() const;
    uint64_t content_hash() const;  // of image size, model_id and host_alone()
};

// A 64-bit hash that is the same on every machine. Not for security.
uint64_t hash_bytes(const void* data, std::size_t size, uint64_t seed = 0);

}  // namespace segrid
