// What following objects through video needs of a segmentation model beyond single images: the
// memory of the frames that were seen. Implementations are immutable after load and used from many
// threads. Tensors are where the model is, in its type unless stated.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
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

// How a mask was found, which decides how it is remembered.
struct MaskNature {
    bool from_prompt = false;  // the user's points or mask: remembered as 0 and 1
    bool appears = true;       // whether the object is in the frame at all
};

class MemoryModel {
public:
    virtual ~MemoryModel() = default;

    // The most frames that attend() takes, with those that the user prompted.
    virtual int64_t frames() const = 0;
    // [image tokens, channels]: the image's own features in the light of what is remembered of one
    // object. There is at least one frame; ages of frames are below frames().
    virtual at::Tensor attend(const at::Tensor& image_tokens,
                              const std::vector<RememberedFrame>& frames,
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
