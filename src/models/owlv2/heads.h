// The heads that read every patch: its class, its box, and whether it is an object.
#pragma once

#include <vector>

#include "models/detection.h"
#include "models/owlv2/config.h"
#include "nn/layers.h"

namespace segrid::owlv2 {

// Three Linear layers with GELU between them: [rows, hidden] -> [rows, out].
class PatchMlp {
public:
    PatchMlp() = default;
    PatchMlp(const WeightScope& scope, int64_t hidden, int64_t out);
    void operator()(int64_t rows, const float* x, float* out, Arena& arena) const;

private:
    int64_t hidden_ = 0, out_ = 0;
    Linear first_, second_, third_;
};

// Fills `classes` and `scoring` of DetectionFeatures: the class vector of each patch, and the
// numbers that turn its products with queries into logits.
class ClassHead {
public:
    ClassHead(const WeightScope& scope, const Owlv2Config& config);
    void operator()(const at::Tensor& patches, DetectionFeatures& out,
                    const Schedule& schedule) const;

private:
    int64_t hidden_, dim_;
    Linear classes_, shift_, scale_;
};

// The boxes of the patches `which`, in their order. The head predicts a box relative to its patch.
class BoxHead {
public:
    BoxHead(const WeightScope& scope, const Owlv2Config& config);
    std::vector<UnitBox> operator()(const at::Tensor& patches, const std::vector<int64_t>& which,
                                    const Schedule& schedule) const;

private:
    int64_t grid_, hidden_;
    PatchMlp mlp_;
};

}  // namespace segrid::owlv2
