// A segmentation model of any family in its plain definition: the family's image encoder, then the
// mask decoder that all families share.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/mask_decoder/mask_decoder_plain.h"
#include "models/segmentation.h"
#include "models/tracking.h"

namespace segrid::plain {

// Maps normalised images [images, 3, side, side] to the model's features, [images, grid area,
// channels] each. Called on the device thread.
using Encoder = std::function<Features(const at::Tensor& images, const Tap* tap)>;

struct Parts {
    std::string family;
    PreprocessSpec preprocess;
    std::vector<FeatureShape> features;
    Encoder encoder;
    int64_t values_per_image = 0;                 // about how many the encoder needs at once
    at::Tensor no_memory{};                       // see SegmentationModel; may be undefined
    std::shared_ptr<const MemoryModel> memory{};  // may be null
    mask_decoder::PromptShape prompt;
    mask_decoder::DecoderShape decoder;
};

// Joins the parts with the prompt encoder and mask decoder, which it reads from the root of the
// weights.
std::unique_ptr<SegmentationModel> assemble(const Weights& root, Parts parts);

}  // namespace segrid::plain
