// What the engine needs of a promptable segmentation model. Implementations are immutable after load and used from many threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/geometry.h"
#include "core/thread_pool.h"

namespace segrid {

// One prompt in the model's frame: K points with labels (0 background, 1 foreground, -1 padding, 2 and 3 box corners), a box, a mask hint, or several.
struct ModelPrompt {
    std::vector<ModelPoint> points;
    std::vector<int> labels;
    std::optional<ModelBox> box;
    const float* mask_hint = nullptr;  // low_res() logits, row-major; not owned
};

// What decoding needs of one image, derived once from its features and shared by all prompts. Each family has its own.
struct DecoderContext {
    virtual ~DecoderContext() = default;
};

struct DecodeRequest {
    bool multimask = false;
    // Masks whose predicted IoU is not above this are not computed; their logits stay null.
    float iou_above = -std::numeric_limits<float>::infinity();
};

// The masks of one prompt, in the model's order.
struct DecodedMask {
    float iou = 0;                 // predicted
    const float* logits = nullptr;  // low_res() floats in the arena given to decode(); null when skipped
};

// Intermediate results by name, for parity tests. Called on the calling thread.
using Tap = std::function<void(const std::string& name, const at::Tensor& value)>;

class SegmentationModel {
public:
    virtual ~SegmentationModel() = default;

    virtual std::string family() const = 0;
    virtual const PreprocessSpec& preprocess() const = 0;
    virtual Size low_res() const = 0;   // of mask logits and mask hints
    virtual Size grid() const = 0;      // of image tokens
    virtual int64_t channels() const = 0;  // of features
    virtual int64_t multimask_outputs() const = 0;  // masks per prompt with multimask

    // rgb: the resized image, packed rows, size `resized`, at most side x side. Returns features [grid area, channels], fp32.
    virtual at::Tensor encode(const uint8_t* rgb, Size resized, const Schedule& schedule, const Tap* tap = nullptr) const = 0;
    virtual std::shared_ptr<const DecoderContext> prepare(const at::Tensor& features, const Schedule& schedule) const = 0;
    // Inside a worker: on that worker, and on idle ones where the schedule shares. Elsewhere: split over the pool. Same bits in every case.
    virtual std::vector<DecodedMask> decode(const DecoderContext& context, const ModelPrompt& prompt, const DecodeRequest& request,
                                            const Schedule& schedule, Arena& arena) const = 0;
};

}  // namespace segrid
