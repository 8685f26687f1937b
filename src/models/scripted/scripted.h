// Detectors in TorchScript files, run by LibTorch: YOLO heads of the usual layouts. Loading such a
// file can run code, so only trusted files may be loaded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/geometry.h"

namespace segrid {

// The layout of the first output, a [1, a, b] tensor. Boxes are in pixels of the input. With
// Objectness, the score of a class is multiplied by the objectness.
enum class YoloLayout {
    Auto,        // by shape: a < b Channels; b = 6 with at most 1000 rows Finished; else Objectness
    Channels,    // [1, 4 + classes, n]: cx, cy, w, h, scores (YOLOv8, v9, 11)
    Objectness,  // [1, n, 5 + classes]: cx, cy, w, h, objectness, scores (YOLOv5, v7)
    Finished,    // [1, n, 6]: x0, y0, x1, y1, score, class (YOLOv10, 26, exports with NMS)
};

struct ScriptedBox {
    float x0 = 0, y0 = 0, x1 = 0, y1 = 0;  // in pixels of the input
    float score = 0;
    int64_t label = 0;
};

// Immutable after load; forward() may be called from several threads.
class ScriptedModel {
public:
    // Throws NotFound, or Corrupt if the file is not TorchScript.
    explicit ScriptedModel(const std::string& path);
    ~ScriptedModel();
    ScriptedModel(ScriptedModel&&) noexcept;

    // The side of the input in pixels (0: not stated) and the names of the classes, if the file has
    // the text that ultralytics writes into its exports.
    int64_t side() const { return side_; }
    const std::vector<std::string>& names() const { return names_; }

    // To be called inside a worker. input: [3][side][side], RGB in 0..1. Returns the boxes with
    // scores above the threshold, in the output's order. Throws Unsupported for outputs of other
    // shapes, and Corrupt for NaN or Inf in them and for exceptions of the script.
    std::vector<ScriptedBox> forward(const float* input, int64_t side, float threshold,
                                     YoloLayout layout) const;

private:
    struct Module;
    std::unique_ptr<Module> module_;
    std::string path_;
    int64_t side_ = 0;
    std::vector<std::string> names_;
};

}  // namespace segrid
