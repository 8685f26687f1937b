// SAM with a ViT encoder (transformers' SamModel): encoder -> features; prompt -> tokens; both -> masks.
#pragma once

#include <memory>

#include "core/precision.h"
#include "models/segmentation.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid::sam {

// Reads every tensor from the store and finishes it. Throws Corrupt when the file and the config do not belong together.
std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store, Precision precision);

}  // namespace segrid::sam
