// The config.json of OWLv2 and OWL-ViT (Owlv2Config, OwlViTConfig), as transformers writes it.
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
    std::string family;  // "owlv2" or "owlvit"; also the prefix of the towers' weights
    TowerConfig vision, text;
    int64_t image = 0, patch = 0;  // sides in pixels
    int64_t vocabulary = 49408, length = 16;
    int64_t grid() const { return image / patch; }

    // Throws Corrupt, naming the key, if a value is outside its plausible range or if two values
    // contradict each other. Throws Unsupported for unknown activations.
    explicit Owlv2Config(const Config& config);
};

}  // namespace segrid::owlv2
