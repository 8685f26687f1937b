// SAM 2 and 2.1 for images (transformers' Sam2Model, and the image part of Sam2VideoModel): image
// -> features at three resolutions; prompt -> tokens; both -> masks ("SAM 2: Segment Anything in
// Images and Videos", 2024).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/execution.h"
#include "models/sam2/config.h"
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
PreprocessSpec preprocess(const Sam2Config& config);
std::vector<FeatureShape> feature_shapes(const Sam2Config& config);
// Whether the checkpoint is one for video.
bool has_memory(const Config& config);
// Throws Corrupt as WeightStore::finish does. Tensors of memory may be left where there is none.
void finish(const Config& config, const WeightStore& store);

}  // namespace segrid::sam2
