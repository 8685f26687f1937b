// What following objects through video needs of a segmentation model beyond single images: the
// memory of the frames that were seen. Implementations are immutable after load and used from many
// threads. Tensors are where the model is, in its type unless stated.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/thread_pool.h"

namespace segrid {

// One object in one earlier frame.
struct RememberedFrame {
    at::Tensor features;  // [kept tokens, memory channels], as MemoryModel::encode gives
    int64_t age = 0;      // frames between then and now; 0 for a frame that the user prompted
};

// One object's pointer in one earlier frame.
struct RememberedPointer {
    at::Tensor pointer;  // [channels], as MemoryModel::pointer gives
    double age = 0;      // frames between then and now, over the most that are looked back; in 0..1
};

// What a session must know of the checkpoint's config.
struct MemoryRules {
    // The shape and the type of a frame's memory, as encode() gives it.
    int64_t tokens = 4096, channels = 64;
    at::ScalarType type = at::kBFloat16;
    int64_t frames = 7;        // the most that attend() takes, if one frame was prompted
    int64_t conditioning = 0;  // the most prompted frames that are attended to; 0: all
    int64_t pointers = 16;     // frames that are looked back for pointers, with the current one
    // A decoder's best of several masks is taken if a prompt has from min_points to max_points
    // clicks (0 while an object is followed): where it appears first, and while it is followed.
    bool multimask = true, multimask_in_tracking = true;
    int64_t min_points = 0, max_points = 1;
};

// How a mask was found, which decides how it is remembered.
struct MaskNature {
    bool from_prompt = false;  // the user's points or mask: remembered as 0 and 1
    bool appears = true;       // whether the object is in the frame at all
};

// What attend() needs of one frame's image, whichever object it is for. Each family has its own
// type. Immutable.
struct FrameContext {
    virtual ~FrameContext() = default;
};

class MemoryModel {
public:
    virtual ~MemoryModel() = default;

    virtual const MemoryRules& rules() const = 0;
    // The part of attend() that all objects of a frame share. image_tokens: the image's own
    // features, [image tokens, channels].
    virtual std::shared_ptr<const FrameContext> look(const at::Tensor& image_tokens,
                                                     const Schedule& schedule) const = 0;
    // [image tokens, channels]: the image's own features after attention to the memory of one
    // object. image: of this model's look(). There is at least one frame; ages of frames are below
    // rules().frames.
    virtual at::Tensor attend(const FrameContext& image, const std::vector<RememberedFrame>& frames,
                              const std::vector<RememberedPointer>& pointers,
                              const Schedule& schedule) const = 0;
    // [kept tokens, memory channels]: one object in this frame. SAM 2 keeps as many tokens as the
    // image has, in bf16; EdgeTAM keeps fewer, in the model's type. image_tokens: the image's own
    // features. mask: [side, side] logits in fp32, in the model's square.
    virtual at::Tensor encode(const at::Tensor& image_tokens, const at::Tensor& mask,
                              const MaskNature& nature, const Schedule& schedule) const = 0;
    // [channels]: who the object is, from the output token of its mask (DecodedMask::token).
    virtual at::Tensor pointer(const at::Tensor& token, bool appears,
                               const Schedule& schedule) const = 0;
    // [low_res] logits: the hint under which a mask that the user gave is decoded. mask: [side,
    // side] of 0 and 1 in fp32, in the model's square.
    virtual at::Tensor hint_of(const at::Tensor& mask, const Schedule& schedule) const = 0;
};

}  // namespace segrid
