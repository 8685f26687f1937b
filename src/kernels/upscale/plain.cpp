// The definition: the convolutions as ATen products over the given rows.
#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/upscale/implementations.h"

namespace segrid::upscale {
namespace {

at::Tensor unpacked(const PackedMatrix& w) {  // [k, n]
    std::vector<at::Tensor> panels;
    for (int64_t n0 = 0; n0 < w.n(); n0 += kPanel)
        panels.push_back(widened(w.panel(n0 / kPanel), w.k(), std::min(kPanel, w.n() - n0)));
    return at::cat(panels, 1);
}

}  // namespace

void plain(const UpscaleWeights& w, const UpscaleInput& input, int64_t first, int64_t last,
           Rows<float> logits) {
    const UpscaleFeatures* features = input.features;
    const int64_t rows = last - first, grid_w = input.grid_w;
    const int64_t begin = first * grid_w, n = rows * grid_w;
    const auto added = [&](const float* from, int64_t parts, int64_t channels) {
        return at::from_blob(const_cast<float*>(from + first * grid_w * parts * channels),
                             {rows * grid_w, parts, channels}, at::kFloat);
    };
    at::Tensor x;
    if (const FirstOfUpdated& u = input.first; u.rows != nullptr) {
        const auto floats = [](const float* p, at::IntArrayRef size, int64_t stride) {
            return at::from_blob(const_cast<float*>(p), size, {stride, 1}, at::kFloat);
        };
        const int64_t wide = 4 * w.c1;
        x = floats(u.scale + begin, {n, 1}, 1) * floats(u.rows + begin * wide, {n, wide}, wide) +
            floats(u.weights[begin], {n, u.depth}, u.weights.stride)
                .matmul(widened(u.basis, u.depth, wide)) +
            floats(u.bias, {1, wide}, wide);
    } else {
        x = at::from_blob(const_cast<float*>(input.keys[begin]), {n, w.first.k()},
                          {input.keys.stride, 1}, at::kFloat)
                .matmul(unpacked(w.first)) +
            w.first_bias;
    }
    x = x.view({n, 4, w.c1});
    if (features != nullptr) x = x + added(features->first, 4, w.c1);
    x = at::gelu(at::layer_norm(x, {w.c1}, w.gamma, w.beta, w.eps));  // (token, dy dx, c1)
    x = (x.reshape({-1, w.c1}).matmul(unpacked(w.second)) + w.second_bias)
            .view({rows * grid_w, 16, w.c2});
    if (features != nullptr) x = x + added(features->second, 16, w.c2);
    x = at::gelu(x)
            .view({rows, grid_w, 2, 2, 2, 2, w.c2})
            .permute({0, 2, 4, 1, 3, 5, 6})
            .reshape({-1, w.c2});  // pixels, row by row
    const at::Tensor h = at::from_blob(const_cast<float*>(input.hyper),
                                       {w.c2, hyper_columns(input.masks)}, at::kFloat)
                             .narrow(1, 0, input.masks);
    at::from_blob(logits.data + first * 16 * grid_w, {input.masks, rows * 16 * grid_w},
                  {logits.stride, 1}, at::kFloat)
        .copy_(x.matmul(h).t());
}

}  // namespace segrid::upscale
