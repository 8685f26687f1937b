// A TorchScript detector for images of any size: letterbox, forward, non-maximum suppression, and
// boxes in image pixels.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/detector.h"
#include "models/scripted/scripted.h"

namespace segrid {

// Immutable after construction; any number of threads may share it.
class ScriptedDetector {
public:
    // side: of the model's square input in pixels, from 32 to 8192 (otherwise InvalidInput); 0: the
    // side that the file states, or 640. See ScriptedModel for other errors.
    ScriptedDetector(const std::string& path, int64_t side, YoloLayout layout);

    int64_t side() const { return side_; }
    const std::vector<std::string>& names() const { return model_->names(); }

    // Sorted by score. The image is resized to fit side x side with Pillow's antialiased bilinear
    // filter, centred, and surrounded by gray (114), as YOLO models are trained. options.nms
    // applies to boxes of one class. Boxes are clipped to the image.
    std::vector<Detection> detect(ImageView image, const DetectOptions& options,
                                  const Schedule& schedule) const;

private:
    std::shared_ptr<const ScriptedModel> model_;
    int64_t side_;
    YoloLayout layout_;
};

}  // namespace segrid
