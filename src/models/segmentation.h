// What the engine needs of a promptable segmentation model. Implementations are immutable after
// load and used from many threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/geometry.h"
#include "core/thread_pool.h"
#include "models/model_input.h"

namespace segrid {

// One prompt in the model's frame: K points with labels (0 background, 1 foreground, -1 padding, 2
// and 3 box corners), a box, a mask hint, or several.
struct ModelPrompt {
    std::vector<ModelPoint> points;
    bool points_given = false;  // also where there are none: SAM pads what was given
    std::vector<int> labels;    // see Prompt
    std::optional<ModelBox> box;
    const float* mask_hint = nullptr;  // low_res() logits, row-major; not owned
};

// What decoding needs of one image, derived once from its features and shared by all prompts. Each
// family has its own.
struct DecoderContext {
    virtual ~DecoderContext() = default;
};

struct DecodeRequest {
    bool multimask = false;
    // Masks whose predicted IoU is not above this are not computed; their logits stay null.
    float iou_above = -std::numeric_limits<float>::infinity();
    bool object_score = false;  // whether it is wanted
    bool tokens = false;        // whether the masks' output tokens are wanted
};

// The masks of one prompt, in the model's order.
struct DecodedMask {
    float iou = 0;  // predicted
    float object_score =
        std::numeric_limits<float>::quiet_NaN();  // logit: whether there is an object at all; NaN
                                                  // where the family has none
    // low_res() floats in the arena given to decode(); null when skipped
    const float* logits = nullptr;
    // The decoder's output token of this mask, from which SAM 2 makes the object's pointer: as many
    // floats as image tokens have channels, in the arena; null when not asked for. Where the single
    // mask gave way to a better one it is still the single mask's, as in sam2.
    const float* token = nullptr;
};

// The shape of one of a model's feature maps.
struct FeatureShape {
    Size grid;
    int64_t channels = 0;
    bool operator==(const FeatureShape&) const = default;
};

// A mask of one of the prompts that were decoded together.
struct BatchMask {
    int64_t prompt = 0,
            number = 0;  // of the prompt in its batch, and of the mask among the prompt's
    float iou = 0, object_score = std::numeric_limits<float>::quiet_NaN();
};

struct DecodedBatch {
    std::vector<BatchMask> masks;  // by prompt; without those that were not to be computed
    at::Tensor logits;             // [masks, low_res] in fp32, on the model's device
    at::Tensor tokens;             // [masks, channels] beside them; undefined when not asked for
};

// What an encoder makes of an image: [grid area, channels] for each of the model's
// feature_shapes(); in fp32 on the CPU, else in the model's type on its device.
using Features = std::vector<at::Tensor>;

class SegmentationModel {
public:
    virtual ~SegmentationModel() = default;

    virtual std::string family() const = 0;
    virtual const PreprocessSpec& preprocess() const = 0;
    virtual Size low_res() const = 0;  // of mask logits and mask hints
    // The image tokens first, then high-resolution features where the family has them.
    virtual std::vector<FeatureShape> feature_shapes() const = 0;
    virtual int64_t multimask_outputs() const = 0;  // masks per prompt with multimask

    // The image's own features.
    virtual Features encode(const ModelInput& input, const Schedule& schedule,
                            const Tap* tap = nullptr) const = 0;
    // The embedding that says "there is no memory", [channels], where the features are: whoever
    // decodes an image alone adds it to the image tokens (SAM 2). Undefined where the family has
    // none.
    virtual at::Tensor no_memory() const { return {}; }
    // From features as they are decoded: an image's alone with no_memory(), or in a video with what
    // is remembered.
    virtual std::shared_ptr<const DecoderContext> prepare(const Features& features,
                                                          const Schedule& schedule) const = 0;
    // Inside a worker: on that worker, and on idle ones where the schedule shares. Elsewhere: split
    // over the pool. Same bits in every case.
    virtual std::vector<DecodedMask> decode(const DecoderContext& context,
                                            const ModelPrompt& prompt, const DecodeRequest& request,
                                            const Schedule& schedule, Arena& arena) const = 0;

    // Whether decode() takes a context: those of another kind or device are prepared again, from
    // the embedding's features.
    virtual bool takes(const DecoderContext& context) const = 0;
    // Where the features are. A model that is batched() has a device for which one prompt is too
    // little: on the thread of devices, decode_batch() takes many.
    virtual at::Device device() const { return at::kCPU; }
    virtual bool batched() const { return false; }
    // hints: [prompts, low_res] logits on the device, or undefined.
    virtual DecodedBatch decode_batch(const DecoderContext& context,
                                      const std::vector<ModelPrompt>& prompts,
                                      const DecodeRequest& request,
                                      const at::Tensor& hints = {}) const;
    virtual int64_t bytes_per_prompt() const {
        return 0;
    }  // of the device's memory, about, while a batch is decoded
};

}  // namespace segrid
