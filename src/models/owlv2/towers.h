// The two towers of OWLv2 ("Scaling open-vocabulary object detection"); its backbone is that of
// "Simple open-vocabulary object detection", figure 1.
//   image: patches and a class token -> + positions -> norm -> layers -> norm
//          -> every patch times the class token -> norm
//   text:  tokens -> + positions -> layers -> norm -> the last token -> projection
#pragma once

#include <vector>

#include "models/detection.h"
#include "models/owlv2/layer.h"

namespace segrid::owlv2 {

class VisionTower {
public:
    // root: the scope of all weights.
    VisionTower(const WeightScope& root, const Owlv2Config& config,
                const PreprocessSpec& preprocess);
    // [grid * grid, hidden]
    at::Tensor operator()(const ModelInput& input, const Schedule& schedule, const Tap* tap) const;

private:
    Owlv2Config config_;
    PreprocessSpec preprocess_;
    Linear patches_;
    at::Tensor class_token_, positions_;  // [hidden], [1 + grid * grid, hidden]
    LayerNorm before_, after_, merged_;
    std::vector<EncoderLayer> layers_;
};

class TextTower {
public:
    TextTower(const WeightScope& root, const Owlv2Config& config);
    // [texts, hidden], unit vectors
    at::Tensor operator()(const std::vector<TokenIds>& texts, const Schedule& schedule,
                          const Tap* tap) const;

private:
    Owlv2Config config_;
    at::Tensor tokens_, positions_;  // [vocabulary, hidden], [length, hidden]
    LayerNorm norm_;
    std::vector<EncoderLayer> layers_;
    Linear projection_;
};

}  // namespace segrid::owlv2
