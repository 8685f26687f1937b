// The plain definition of the image side of OWLv2: the vision tower and the class head (towers.h,
// heads.h). The boxes of patches stay on the CPU, where they cost little.
#pragma once

#include <vector>

#include "models/detection.h"
#include "models/owlv2/config.h"
#include "nn/plain.h"

namespace segrid::plain {

class ClipLayer {
public:
    ClipLayer(const Weights& weights, const owlv2::TowerConfig& config);
    // x: [images, tokens, hidden]. bias: is added to the scores, see attend.
    at::Tensor operator()(const at::Tensor& x, const at::Tensor& bias = {}) const;

private:
    int64_t heads_;
    LayerNorm norm_;
    Linear q_, k_, v_, out_;
    NormedMlp mlp_;
};

class Owlv2Vision {
public:
    Owlv2Vision(const Weights& root, const owlv2::Owlv2Config& config,
                const PreprocessSpec& preprocess);
    // Runs on the device, for all images together. The features are in fp32 on the CPU.
    std::vector<DetectionFeatures> operator()(const std::vector<ModelInput>& inputs,
                                              const Schedule& schedule, const Tap* tap) const;
    c10::Device device() const { return placement_.device; }
    // About how many bytes each image needs at once.
    int64_t bytes_per_image() const;

private:
    owlv2::Owlv2Config config_;
    PreprocessSpec preprocess_;
    Placement placement_;
    Linear patches_, classes_, shift_, scale_;
    at::Tensor class_token_, positions_;  // [1, hidden], [1 + patches, hidden]
    LayerNorm before_, after_, merged_;
    std::vector<ClipLayer> layers_;
};

}  // namespace segrid::plain
