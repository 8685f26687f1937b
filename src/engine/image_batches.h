// Images, or crops of them, on their way to an image encoder: each is resized for the model, and on
// a device several are encoded together.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "core/geometry.h"
#include "core/thread_pool.h"
#include "core/views.h"
#include "engine/batches.h"
#include "models/model_input.h"

namespace segrid {

struct ImageCrop {
    ImageView image;
    ImageBox box;    // in image pixels
    FrameMap frame;  // from the image to the model's square
};

ImageCrop crop_of(ImageView image, ImageBox box, const PreprocessSpec& spec);
ImageCrop whole(ImageView image, const PreprocessSpec& spec);

// Encodes the inputs of crops [first, first + inputs.size()). On a device it is called on the
// device thread. Memory may run out in it; it must store results only when nothing can fail.
using EncodeInputs = std::function<void(const std::vector<ModelInput>& inputs, std::size_t first)>;

// Resizes the crops and gives them to `encode` in their order: one by one without a budget, else in
// batches that the device's memory takes, of which the next one is resized and copied to the device
// while one is encoded. Seconds and batches are added to stats.
void encode_crops(const std::vector<ImageCrop>& crops, const PreprocessSpec& spec,
                  std::optional<DeviceBudget> budget, const Schedule& schedule, Stats& stats,
                  const EncodeInputs& encode);

}  // namespace segrid
