// The small parts of SAM 2's memory, in basic ATen operations: the plain and the fast form share
// them. Called on the thread that the placement of the weights asks for.
#pragma once

#include <vector>

#include "models/sam2/memory_config.h"
#include "models/tracking.h"
#include "nn/plain.h"

namespace segrid::sam2 {

class MemoryParts {
public:
    // root: of the weights of the model.
    MemoryParts(const plain::Weights& root, const MemoryConfig& config);

    // What is kept of an encoded frame, [image tokens, memory channels]: the means of the config's
    // squares of tokens.
    at::Tensor pooled(const at::Tensor& tokens) const;
    // See MemoryConfig.
    float pointer_bias() const { return pointer_bias_; }
    // The encodings of the places of a remembered frame's tokens, [kept tokens, memory channels].
    const at::Tensor& places() const { return places_; }
    // The encoding of a frame's age, [memory channels].
    at::Tensor age(int64_t frames) const;
    // What is added to the memory of a frame in which the object does not appear, [1, memory
    // channels]; undefined if the model has no such embedding.
    const at::Tensor& occluded() const { return occluded_; }

    // See MemoryModel.
    at::Tensor pointer(const at::Tensor& token, bool appears) const;
    at::Tensor hint_of(const at::Tensor& mask) const;

    // A pointer has more channels than memory: it is cut into several tokens of the same age.
    struct PointerTokens {
        at::Tensor values, ages;  // [tokens, memory channels] each
    };
    // pointers: at least one.
    PointerTokens pointer_tokens(const std::vector<RememberedPointer>& pointers) const;

    // The mask as the memory encoder takes it, [side, side]: probabilities, or 0 and 1 of a mask
    // that the user prompted, scaled.
    at::Tensor encoder_input(const at::Tensor& mask, bool from_prompt) const;

private:
    int64_t dim_, channels_, grid_, pooling_;
    float pointer_bias_;
    double scale_, bias_;
    Placement placement_;
    at::Tensor places_;
    at::Tensor ages_;  // [frames, memory channels]
    plain::FeedForward pointer_;
    bool pointer_times_;
    plain::Linear pointer_ages_;
    at::Tensor no_pointer_, occluded_, hint_weight_, hint_bias_;
};

}  // namespace segrid::sam2
