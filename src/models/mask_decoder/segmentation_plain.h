// A segmentation model of any family by its plain definitions: the family's encoder, then the mask
// decoder that all share.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/mask_decoder/mask_decoder_plain.h"
#include "models/segmentation.h"

namespace segrid::plain {

// On the thread of devices: [1, 3, side, side], normalised, to the model's feature maps.
using Encoder = std::function<Features(const at::Tensor& image, const Tap* tap)>;

struct Parts {
    std::string family;
    PreprocessSpec preprocess;
    std::vector<FeatureShape> features;
    Encoder encoder;
    at::Tensor no_memory;  // see SegmentationModel; may be undefined
    mask_decoder::PromptShape prompt;
    mask_decoder::DecoderShape decoder;
};

// Reads prompt encoder and mask decoder from the root of the weights.
std::unique_ptr<SegmentationModel> assemble(const Weights& root, Parts parts);

}  // namespace segrid::plain
