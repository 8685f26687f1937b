// One layer of CLIP's encoder, of which both towers consist:
//   x += attention(norm(x)); x += mlp(norm(x))
#pragma once

#include <vector>

#include "models/owlv2/config.h"
#include "nn/transformer.h"

namespace segrid::owlv2 {

class EncoderLayer {
public:
    EncoderLayer(const WeightScope& scope, const TowerConfig& config);

    // tokens: [n, hidden]. Each token attends to all.
    void operator()(at::Tensor& tokens, TokenBuffers& buffers, const Schedule& schedule) const;
    // To be called inside a worker. x: [sum of lengths, hidden], the tokens of several sequences,
    // one after the other. Each token attends to itself and to those before it in its sequence.
    void causal(const std::vector<int64_t>& lengths, float* x, Arena& arena) const;

private:
    void finish(int64_t rows, const float* attended, float* x, Arena& arena) const;

    TowerConfig config_;
    Precision precision_;
    LayerNorm norm_;
    Linear qkv_, projection_;
    ResidualMlp mlp_;
};

}  // namespace segrid::owlv2
