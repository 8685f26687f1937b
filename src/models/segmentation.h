// The engine's interface to promptable segmentation models. Implementations are immutable after
// load; any number of threads may use one.
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

// One prompt in the model's frame: points with labels (0 background, 1 foreground, -1 padding, 2
// and 3 box corners), a box, a mask hint, or several of these.
struct ModelPrompt {
    std::vector<ModelPoint> points;
    bool points_given = false;  // true also for an empty list of points, which SAM pads
    std::vector<int> labels;    // see Prompt
    std::optional<ModelBox> box;
    const float* mask_hint = nullptr;  // low_res() logits, row-major; not owned
};

// The data that decoding needs of one image, derived once from its features and shared by all
// prompts. Each family has its own type. Immutable.
struct DecoderContext {
    virtual ~DecoderContext() = default;
    // All that it holds for this image alone.
    virtual std::vector<at::Tensor> tensors() const = 0;
};

struct DecodeRequest {
    bool multimask = false;
    // Masks whose predicted IoU is not above this are not computed; their logits stay null.
    float iou_above = -std::numeric_limits<float>::infinity();
    bool object_score = false;  // whether to compute it
    bool tokens = false;        // whether to return the output tokens of the masks
};

// One mask of a prompt. decode() returns a prompt's masks in the model's order.
struct DecodedMask {
    float iou = 0;  // predicted
    // Logit that there is an object at all. NaN if it was not requested or if the family has none.
    float object_score = std::numeric_limits<float>::quiet_NaN();
    // low_res() floats in the arena given to decode(); null if the mask was skipped.
    const float* logits = nullptr;
    // The decoder's output token of this mask, from which SAM 2 makes the object pointer: as many
    // floats as an image token has channels, in the arena; null if it was not requested. If a
    // better mask replaced the single mask, this is still the token of the single mask, as in sam2.
    const float* token = nullptr;
};

// The shape of one of a model's feature maps.
struct FeatureShape {
    Size grid;
    int64_t channels = 0;
    bool operator==(const FeatureShape&) const = default;
};

// A mask of one of several prompts that were decoded together.
struct BatchMask {
    // prompt: index of the prompt in the batch. number: index of the mask among the prompt's.
    int64_t prompt = 0, number = 0;
    float iou = 0, object_score = std::numeric_limits<float>::quiet_NaN();
};

struct DecodedBatch {
    std::vector<BatchMask> masks;  // ordered by prompt; skipped masks are left out
    at::Tensor logits;             // [masks, low_res] in fp32, on the model's device
    at::Tensor tokens;             // [masks, channels], likewise; undefined if not requested
};

// The encoder's features of an image: a tensor [grid area, channels] for each of the model's
// feature_shapes(). In fp32 on the CPU, or in the model's type on its device.
using Features = std::vector<at::Tensor>;

class MemoryModel;  // models/tracking.h

class SegmentationModel {
public:
    virtual ~SegmentationModel() = default;

    virtual std::string family() const = 0;
    virtual const PreprocessSpec& preprocess() const = 0;
    virtual Size low_res() const = 0;  // the size of mask logits and mask hints
    // The image tokens come first, then high-resolution features if the family has them.
    virtual std::vector<FeatureShape> feature_shapes() const = 0;
    virtual int64_t multimask_outputs() const = 0;  // masks per prompt with multimask

    // The features of the image itself, without no_memory().
    virtual Features encode(const ModelInput& input, const Schedule& schedule,
                            const Tap* tap = nullptr) const = 0;
    // The features of each of several images. Models that are batched() compute them together, with
    // the results of single images but for rounding; others one after the other.
    virtual std::vector<Features> encode_batch(const std::vector<ModelInput>& inputs,
                                               const Schedule& schedule) const;
    // About how many bytes of device memory each image of a batch needs while it is encoded.
    virtual int64_t bytes_per_image() const { return 0; }
    // SAM 2's embedding for "there is no memory", [channels], on the features' device. It must be
    // added to the image tokens when an image is decoded alone. Undefined if the family has none.
    virtual at::Tensor no_memory() const { return {}; }
    // The memory with which objects are followed through video. Null if the checkpoint has none.
    virtual const MemoryModel* memory() const { return nullptr; }
    // features: ready for decoding. Those of an image alone include no_memory(), those of a video
    // frame include its memory.
    virtual std::shared_ptr<const DecoderContext> prepare(const Features& features,
                                                          const Schedule& schedule) const = 0;
    // The context of a single prompt, without what several prompts would share. other: null, or a
    // context of the same image with other image tokens, from which the other features are taken.
    virtual std::shared_ptr<const DecoderContext> prepare_single(
        const Features& features, [[maybe_unused]] const DecoderContext* other,
        const Schedule& schedule) const {
        return prepare(features, schedule);
    }
    // Inside a worker it runs on this worker, and on idle ones if the schedule shares. Elsewhere it
    // is split over the pool. The bits are the same in every case.
    virtual std::vector<DecodedMask> decode(const DecoderContext& context,
                                            const ModelPrompt& prompt, const DecodeRequest& request,
                                            const Schedule& schedule, Arena& arena) const = 0;

    // Whether decode() accepts this context. A context of another kind or device must be prepared
    // again from the embedding's features.
    virtual bool takes(const DecoderContext& context) const = 0;
    // The device that holds the features.
    virtual at::Device device() const { return at::kCPU; }
    // Whether to take images and prompts in batches, because one does not keep the device busy.
    virtual bool batched() const { return false; }
    // To be called on the device thread, for models that are batched(). hints: logits [prompts,
    // low_res] on the device, for prompts without a mask_hint; or undefined.
    virtual DecodedBatch decode_batch(const DecoderContext& context,
                                      const std::vector<ModelPrompt>& prompts,
                                      const DecodeRequest& request,
                                      const at::Tensor& hints = {}) const;
    // About how many bytes of device memory each prompt of a batch needs while it is decoded.
    virtual int64_t bytes_per_prompt() const { return 0; }
};

}  // namespace segrid
