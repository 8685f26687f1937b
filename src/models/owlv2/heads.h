// What is read off every patch: its class, its box, whether it is an object.
#pragma once

#include <vector>

#include "models/detection.h"
#include "models/owlv2/config.h"
#include "nn/layers.h"

namespace segrid::owlv2 {

// Three Linears with GELU between.
class PatchMlp {
public:
    PatchMlp() = default;
    PatchMlp(const Scope& scope, int64_t hidden, int64_t out);
    void operator()(int64_t rows, const float* x, float* out, Arena& arena) const;

private:
    int64_t hidden_ = 0, out_ = 0;
    Linear first_, second_, third_;
};

// The class of a patch, and how its products with queries become logits.
class ClassHead {
public:
    ClassHead(const Scope& scope, const Owlv2Config& config);
    void operator()(const at::Tensor& patches, DetectionFeatures& out,
                    const Schedule& schedule) const;

private:
    int64_t hidden_, dim_;
    Linear classes_, shift_, scale_;
};

// A box around the place of its patch.
class BoxHead {
public:
    BoxHead(const Scope& scope, const Owlv2Config& config);
    std::vector<UnitBox> operator()(const at::Tensor& patches, const std::vector<int64_t>& which,
                                    const Schedule& schedule) const;

private:
    int64_t grid_, hidden_;
    PatchMlp mlp_;
};

}  // namespace segrid::owlv2
