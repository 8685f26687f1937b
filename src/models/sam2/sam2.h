// SAM 2 and 2.1 for images (transformers' Sam2Model, and the image part of Sam2VideoModel): image
// -> features at three resolutions; prompt -> tokens; both -> masks ("SAM 2: Segment Anything in
// Images and Videos", 2024).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/execution.h"
#include "models/sam2/config.h"
#include "models/mask_decoder/segmentation_plain.h"
#include "models/segmentation.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid::sam2 {

// Reads every tensor from the store and finishes it: of a Sam2VideoModel with its memory; of a
// Sam2Model without, also where the file holds one. Throws Corrupt if the file and the config do
// not belong together.
std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions);
// The same with the plain definitions, which run on CUDA.
std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement);

// Returns the features of an image that was squashed to the model's square.
using Encoder =
    std::function<Features(const ModelInput& input, const Schedule& schedule, const Tap* tap)>;

struct Parts {
    std::string family;
    ImageConfig config;
    Encoder encoder;
    std::shared_ptr<const MemoryModel> memory;  // null for a checkpoint for images
};
// Joins them with the prompt encoder and mask decoder, which it reads from the root of the weights.
std::unique_ptr<SegmentationModel> assemble(const WeightScope& root, Parts parts);

struct PlainParts {
    std::string family;
    ImageConfig config;
    plain::Encoder encoder;
    int64_t values_per_image;  // see plain::Parts
    std::shared_ptr<const MemoryModel> memory;
};
std::unique_ptr<SegmentationModel> assemble_plain(const plain::Weights& root, PlainParts parts);

PreprocessSpec preprocess(const ImageConfig& config);
std::vector<FeatureShape> feature_shapes(const ImageConfig& config);
// Whether the config is of a checkpoint for video.
bool has_memory(const Config& config);
// Throws Corrupt as WeightStore::finish does. Tensors of memory may be left where there is none;
// more_of_memory: what their names begin with, beyond SAM 2's.
void finish(const Config& config, const WeightStore& store,
            const std::vector<std::string>& more_of_memory = {});

}  // namespace segrid::sam2
