// Owlv2Config and OwlViTConfig, as transformers writes them.
#pragma once

#include <string>

#include "kernels/gemm/op.h"
#include "weights/config.h"

namespace segrid::owlv2 {

// The sizes of one of the two towers, which are CLIP's encoders.
struct TowerConfig {
    int64_t hidden = 0, mlp = 0, layers = 12, heads = 0;
    Activation activation = Activation::QuickGelu;
    float eps = 1e-5F;
};

struct Owlv2Config {
    std::string family;  // owlv2, owlvit: also the name under which the towers' weights lie
    TowerConfig vision, text;
    int64_t image = 0, patch = 0;
    int64_t vocabulary = 49408, length = 16;
    int64_t grid() const { return image / patch; }

    // Throws Corrupt naming the key when a value is outside its plausible range or two values
    // contradict each other, Unsupported for other activations.
    explicit Owlv2Config(const Config& config);
};

}  // namespace segrid::owlv2
