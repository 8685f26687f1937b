// The plain definition of EdgeTAM's image encoder. The figure is in repvit.h.
#pragma once

#include <optional>
#include <vector>

#include "models/edgetam/config.h"
#include "models/sam2/neck_plain.h"
#include "nn/plain.h"

namespace segrid::plain {

// All take and return images [images, channels, h, w].
struct RepVitMlp {
    RepVitMlp(const Weights& weights, int64_t dim, int64_t hidden);
    at::Tensor operator()(const at::Tensor& x) const;  // with its residual

    NormedConvolution in, out;
};

struct RepVitGate {
    RepVitGate(const Weights& weights, int64_t channels);
    at::Tensor operator()(const at::Tensor& x) const;  // the factors, [images, channels, 1, 1]

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
    // images: [images, 3, side, side], normalised. Returns the features of edgetam::RepVit,
    // [images, grid area, channels] each.
    Features operator()(const at::Tensor& images, const Tap* tap) const;
    // About how many values each image needs at once.
    int64_t values_per_image() const { return values_; }

private:
    NormedConvolution stem1_, stem2_;
    std::vector<RepVitDownsampling> downsamplings_;  // before stages 1 to 3
    std::vector<std::vector<RepVitBlock>> stages_;
    Neck neck_;
    int64_t values_;
};

}  // namespace segrid::plain
