// SAM (transformers' SamModel): encoder -> features; prompt -> tokens; both -> masks. Other
// families put their own encoder in front.
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

// Reads every tensor from the store and finishes it. Throws Corrupt when the file and the config do
// not belong together.
std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions);
// The same by the plain definitions: what runs on CUDA.
std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement);

// Features [grid area, dim] of a padded image.
using Encoder =
    std::function<at::Tensor(const ModelInput& input, const Schedule& schedule, const Tap* tap)>;

struct Parts {
    std::string family;
    mask_decoder::PromptShape prompt;
    mask_decoder::DecoderShape decoder;
    Encoder encoder;
};
// SAM's prompt encoder and mask decoder, read from the root of the weights, behind an encoder.
std::unique_ptr<SegmentationModel> assemble(const Scope& root, Parts parts);

}  // namespace segrid::sam
