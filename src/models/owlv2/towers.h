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

// Throws InvalidInput for a text with no tokens or too many, or a token outside the vocabulary.
void check_texts(const std::vector<TokenIds>& texts, const Owlv2Config& config);
// The number of tokens up to the one with the highest id. This one ends the text, and the text's
// vector is read at it. Under the causal mask it does not see later tokens, so they are left out.
int64_t read_length(const TokenIds& ids);

class TextTower {
public:
    TextTower(const WeightScope& root, const Owlv2Config& config);
    // [texts, hidden], unit vectors. The texts must have passed check_texts.
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
