// SAM (transformers' SamModel): image -> features; prompt -> tokens; both -> masks. Other families
// use it with an image encoder of their own.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/execution.h"
#include "models/mask_decoder/mask_predictor.h"
#include "models/segmentation.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid::sam {

// Reads every tensor from the store and finishes it. Throws Corrupt if the file and the config do
// not belong together.
std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions);
// The same with the plain definitions, which run on CUDA.
std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement);

// Returns the features [grid area, dim] of an image that was padded to the model's square.
using Encoder =
    std::function<at::Tensor(const ModelInput& input, const Schedule& schedule, const Tap* tap)>;

struct Parts {
    std::string family;
    mask_decoder::PromptShape prompt;
    mask_decoder::DecoderShape decoder;
    Encoder encoder;
};
// Joins an encoder with SAM's prompt encoder and mask decoder, which it reads from the root of the
// weights.
std::unique_ptr<SegmentationModel> assemble(const WeightScope& root, Parts parts);

}  // namespace segrid::sam
