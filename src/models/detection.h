// The engine's interface to open-vocabulary detectors. Implementations are immutable after load;
// any number of threads may use one.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/geometry.h"
#include "core/thread_pool.h"
#include "kernels/gemm/op.h"
#include "models/model_input.h"

namespace segrid {

// A detector's features of an image: one row for each patch, and each patch may be an object.
struct DetectionFeatures {
    at::Tensor patches;  // [P, hidden]
    at::Tensor classes;  // [P, dim]: compared with queries; not normalised
    at::Tensor scoring;  // [P, 3]: a patch's logit is (class . query * [0] + [1]) * [2]
};

// A box in units of the model's square: 0..1 inside it. XYXY.
struct UnitBox {
    float x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

using TokenIds = std::vector<int64_t>;

class DetectionModel {
public:
    virtual ~DetectionModel() = default;

    virtual std::string family() const = 0;
    virtual const PreprocessSpec& preprocess() const = 0;
    virtual int64_t text_length() const = 0;  // the most tokens of a text
    virtual int64_t vocabulary() const = 0;
    virtual int64_t dim() const = 0;  // of queries

    virtual DetectionFeatures encode(const ModelInput& input, const Schedule& schedule,
                                     const Tap* tap = nullptr) const = 0;
    // The features of each of several images. On a device they are computed together, with the
    // results of single images but for rounding; on the CPU one after the other.
    virtual std::vector<DetectionFeatures> encode_batch(const std::vector<ModelInput>& inputs,
                                                        const Schedule& schedule) const = 0;
    // The device that encodes images, and about how many bytes of its memory each image needs
    // meanwhile. Empty if the CPU's kernels do.
    struct ImageMemory {
        c10::Device device;
        int64_t bytes_per_image;
    };
    virtual std::optional<ImageMemory> image_memory() const { return {}; }
    // Returns unit vectors [texts, dim]. A text has 1 to text_length() ids in [0, vocabulary());
    // throws InvalidInput otherwise.
    virtual at::Tensor embed_texts(const std::vector<TokenIds>& texts, const Schedule& schedule,
                                   const Tap* tap = nullptr) const = 0;
    // The patch that stands for the object of an example image. With `box`, the object is the one
    // in this box; without, the one that the originals choose.
    virtual int64_t example_patch(const DetectionFeatures& features,
                                  const std::optional<UnitBox>& box,
                                  const Schedule& schedule) const = 0;
    // To be called inside a worker. Writes the logits of patches [first, first + rows) to
    // out: [rows, n]. queries: unit vectors [n, dim], packed.
    virtual void logits(const DetectionFeatures& features, const PackedMatrix& queries,
                        int64_t first, int64_t rows, float* out) const = 0;
    // The boxes of the given patches, in their order.
    virtual std::vector<UnitBox> boxes(const DetectionFeatures& features,
                                       const std::vector<int64_t>& patches,
                                       const Schedule& schedule) const = 0;
    // Logits [P] that a patch is an object of any kind. Throws Unsupported if the family has none.
    virtual std::vector<float> objectness(const DetectionFeatures& features,
                                          const Schedule& schedule) const = 0;
};

}  // namespace segrid
