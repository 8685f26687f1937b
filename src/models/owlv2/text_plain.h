// The plain definition of OWLv2's text tower (towers.h).
#pragma once

#include <vector>

#include "models/detection.h"
#include "models/owlv2/config.h"
#include "models/owlv2/vision_plain.h"
#include "nn/plain.h"

namespace segrid::plain {

class Owlv2Text {
public:
    Owlv2Text(const Weights& root, const owlv2::Owlv2Config& config);
    // Runs on the device, for all texts together. Returns unit vectors [texts, hidden] in fp32 on
    // the CPU. The texts must have passed owlv2::check_texts.
    at::Tensor operator()(const std::vector<TokenIds>& texts, const Schedule& schedule,
                          const Tap* tap) const;

private:
    owlv2::Owlv2Config config_;
    Placement placement_;
    at::Tensor tokens_, positions_;  // [vocabulary, hidden], [length, hidden]
    at::Tensor causal_;              // [length, length]: 0, or -Inf for tokens that come later
    std::vector<ClipLayer> layers_;
    LayerNorm norm_;
    Linear projection_;
};

}  // namespace segrid::plain
