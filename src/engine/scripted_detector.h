// A TorchScript detector behind the image's own pixels: letterbox, forward, suppression, back to
// the image.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/detector.h"
#include "models/scripted/scripted.h"

namespace segrid {

class ScriptedDetector {
public:
    // side 0: what the file says, else 640. See ScriptedModel for errors.
    ScriptedDetector(const std::string& path, int64_t side, YoloLayout layout);

    int64_t side() const { return side_; }
    const std::vector<std::string>& names() const { return model_->names(); }

    // Sorted by score. The image is scaled to fit side x side, centred, and framed in gray (114),
    // as YOLO models are trained; the filter is Pillow's antialiased bilinear one. options.nms:
    // among boxes of one class.
    std::vector<Detection> detect(ImageView image, const DetectOptions& options,
                                  const Schedule& schedule) const;

private:
    std::shared_ptr<const ScriptedModel> model_;
    int64_t side_;
    YoloLayout layout_;
};

}  // namespace segrid
