// What the engine needs of an open-vocabulary detector. Implementations are immutable after load
// and used from many threads.
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

// What a detector makes of an image: one row for each of its patches, each of which may be an
// object.
struct DetectionFeatures {
    at::Tensor patches;  // [P, hidden]
    at::Tensor classes;  // [P, dim], what is compared with queries; not normalised
    at::Tensor scoring;  // [P, 3]: a patch's logit is (class . query * [0] + [1]) * [2]
};

// A box in units of the model's square: 0..1 where it lies inside. XYXY.
struct UnitBox {
    float x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

using TokenIds = std::vector<int64_t>;

class DetectionModel {
public:
    virtual ~DetectionModel() = default;

    virtual std::string family() const = 0;
    virtual const PreprocessSpec& preprocess() const = 0;
    virtual int64_t text_length() const = 0;  // most tokens of a text
    virtual int64_t vocabulary() const = 0;
    virtual int64_t dim() const = 0;  // of queries

    virtual DetectionFeatures encode(const ModelInput& input, const Schedule& schedule,
                                     const Tap* tap = nullptr) const = 0;
    // [texts, dim], unit vectors. Ids lie in [0, vocabulary()), at most text_length() of them.
    virtual at::Tensor embed_texts(const std::vector<TokenIds>& texts, const Schedule& schedule,
                                   const Tap* tap = nullptr) const = 0;
    // The patch of an example image that stands for its object, in the box where one is given, else
    // wherever the originals look.
    virtual int64_t example_patch(const DetectionFeatures& features,
                                  const std::optional<UnitBox>& box,
                                  const Schedule& schedule) const = 0;
    // For patches [first, first + rows), inside a worker: logits[rows, queries]. queries: [n, dim]
    // unit vectors, packed.
    virtual void logits(const DetectionFeatures& features, const PackedMatrix& queries,
                        int64_t first, int64_t rows, float* out) const = 0;
    virtual std::vector<UnitBox> boxes(const DetectionFeatures& features,
                                       const std::vector<int64_t>& patches,
                                       const Schedule& schedule) const = 0;
    // Logits [P] that a patch is an object of any kind; throws Unsupported where the family has
    // none.
    virtual std::vector<float> objectness(const DetectionFeatures& features,
                                          const Schedule& schedule) const = 0;
};

}  // namespace segrid
