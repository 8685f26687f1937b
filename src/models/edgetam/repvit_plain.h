// The plain definition of EdgeTAM's image encoder. The figure is in repvit.h.
#pragma once

#include <optional>
#include <vector>

#include "models/edgetam/config.h"
#include "models/sam2/neck_plain.h"
#include "nn/plain.h"

namespace segrid::plain {

// All take and return images [1, channels, h, w].
struct RepVitMlp {
    RepVitMlp(const Weights& weights, int64_t dim, int64_t hidden);
    at::Tensor operator()(const at::Tensor& x) const;  // with its residual

    NormedConvolution in, out;
};

struct RepVitGate {
    RepVitGate(const Weights& weights, int64_t channels);
    at::Tensor operator()(const at::Tensor& x) const;  // the factors, [1, channels, 1, 1]

    at::Tensor in, in_bias, out, out_bias;
};

struct RepVitBlock {
    RepVitBlock(const Weights& weights, const edgetam::RepVitConfig& config, std::size_t stage,
                bool gated);
    at::Tensor operator()(const at::Tensor& x) const;

    NormedConvolution mixer;
    std::optional<RepVitGate> gate;
    RepVitMlp mlp;
};

struct RepVitDownsampling {
    RepVitDownsampling(const Weights& weights, const edgetam::RepVitConfig& config,
                       std::size_t stage);
    at::Tensor operator()(const at::Tensor& x) const;

    RepVitBlock before;
    NormedConvolution spatial, widen;
    RepVitMlp mlp;
};

class RepVit {
public:
    RepVit(const Weights& vision, const Weights& decoder, const edgetam::EdgeTamConfig& config);
    // image: [1, 3, side, side], normalised. Returns the same features as edgetam::RepVit.
    Features operator()(const at::Tensor& image, const Tap* tap) const;

private:
    NormedConvolution stem1_, stem2_;
    std::vector<RepVitDownsampling> downsamplings_;  // before stages 1 to 3
    std::vector<std::vector<RepVitBlock>> stages_;
    Neck neck_;
};

}  // namespace segrid::plain
