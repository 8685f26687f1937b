// EdgeTAM's spatial perceiver, plainly (Zhou et al. 2025, "EdgeTAM: On-device track anything
// model", section 3.2): learned latents read a frame's memory, so that later frames attend to the
// latents and not to every place of the memory.
//   per layer: x += attention(norm(x), norm(memory)); x += mlp(x); x += self attention(norm(x));
//              x += mlp(x)
// The global latents read the whole memory, with its positions. Each latent of the square reads its
// own window of the memory.
#pragma once

#include <vector>

#include "models/edgetam/config.h"
#include "nn/plain.h"

namespace segrid::plain {

// W2 gelu(W1 norm(x)), without biases.
struct PerceiverMlp {
    PerceiverMlp(const Weights& weights, int64_t dim, int64_t hidden);
    at::Tensor operator()(const at::Tensor& x) const;

    LayerNorm norm;
    Linear in, out;
};

class PerceiverAttention {  // of one head
public:
    PerceiverAttention(const Weights& weights, int64_t dim);
    // queries: [batch, n, dim]; inputs: [batch, m, dim]. positions: added to keys and to values,
    // [1, m, dim] or undefined.
    at::Tensor operator()(const at::Tensor& queries, const at::Tensor& inputs,
                          const at::Tensor& positions) const;

private:
    Linear q_, k_, v_, out_;
};

struct PerceiverLayer {
    PerceiverLayer(const Weights& weights, const edgetam::MemoryConfig& config);
    at::Tensor operator()(const at::Tensor& latents, const at::Tensor& memory,
                          const at::Tensor& positions) const;

    LayerNorm norm_latents, norm_memory, norm_self;
    PerceiverAttention cross, self;
    PerceiverMlp mlp, self_mlp;
};

class SpatialPerceiver {
public:
    SpatialPerceiver(const Weights& weights, const edgetam::MemoryConfig& config);
    // memory: [image tokens, channels]. Returns [global latents + those of the square, channels].
    at::Tensor operator()(const at::Tensor& memory) const;

private:
    int64_t grid_, square_;
    at::Tensor global_, placed_;  // [1, latents, channels], [latents, 1, channels]
    at::Tensor positions_;        // of the memory, [1, image tokens, channels]
    std::vector<PerceiverLayer> layers_;
    LayerNorm norm_;
};

}  // namespace segrid::plain
