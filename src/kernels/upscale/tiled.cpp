#include <array>
#include <span>

#include "kernels/rows/op.h"
#include "kernels/upscale/implementations.h"

namespace segrid::upscale {
namespace {

// Computes one row of the grid, whose first token is `token`. last: no row follows.
void first_convolution(const UpscaleWeights& w, const UpscaleInput& input, int64_t token, bool last,
                       Rows<float> out) {
    const FirstOfUpdated& u = input.first;
    if (u.rows == nullptr) {
        linear(input.grid_w, input.keys.from_row(token), w.first, out,
               {.bias = w.first_bias.const_data_ptr<float>()});
        return;
    }
    for (int64_t i = 0; i < input.grid_w; ++i) {
        scale_add(out.stride, u.scale[token + i], u.rows + (token + i) * out.stride, u.bias,
                  out[i]);
    }
    // The next row of the grid is fetched meanwhile.
    const int64_t after = token + input.grid_w;
    const std::array next{ReadNext{u.rows + after * out.stride, input.grid_w * out.stride * 4},
                          ReadNext{u.weights[after], input.grid_w * u.weights.stride * 4}};
    matmul(input.grid_w, out.stride, u.depth, u.weights.from_row(token), u.basis, out,
           /*accumulate=*/true, last ? std::span<const ReadNext>{} : next);
}

}  // namespace

void tiled(const UpscaleWeights& w, const UpscaleInput& input, int64_t first, int64_t last,
           Rows<float> logits, Arena& arena) {
    const Arena::Lifetime scope(arena);
    const UpscaleFeatures* features = input.features;
    const int64_t grid_w = input.grid_w, columns = hyper_columns(input.masks);
    float* once = arena.take<float>(grid_w * 4 * w.c1);
    float* twice = arena.take<float>(grid_w * 16 * w.c2);
    float* values = arena.take<float>(grid_w * 16 * columns);
    const float* gamma = w.gamma.const_data_ptr<float>();
    const float* beta = w.beta.const_data_ptr<float>();
    for (int64_t y = first; y < last; ++y) {
        first_convolution(w, input, y * grid_w, y + 1 == last, {once, 4 * w.c1});
        if (features != nullptr)
            add(grid_w * 4 * w.c1, once, features->first + y * grid_w * 4 * w.c1, once);
        for (int64_t i = 0; i < grid_w * 4; ++i)
            layer_norm(w.c1, once + i * w.c1, gamma, beta, w.eps, once + i * w.c1);
        gelu(grid_w * 4 * w.c1, once);
        linear(grid_w * 4, {once, w.c1}, w.second, {twice, 4 * w.c2},
               {.bias = w.second_bias.const_data_ptr<float>(),
                .activation = features == nullptr ? Activation::Gelu : Activation::None});
        if (features != nullptr) {
            add(grid_w * 16 * w.c2, twice, features->second + y * grid_w * 16 * w.c2, twice);
            gelu(grid_w * 16 * w.c2, twice);
        }
        matmul(grid_w * 16, columns, w.c2, {twice, w.c2}, {input.hyper, columns},
               {values, columns});
        for (int64_t x = 0; x < grid_w; ++x) {
            // part: (dy, dx) of the first convolution, then of the second.
            for (int64_t part = 0; part < 16; ++part) {
                const int64_t row = 4 * y + 2 * (part >> 3) + (part >> 1 & 1);
                const int64_t column = 4 * x + 2 * (part >> 2 & 1) + (part & 1);
                for (int64_t m = 0; m < input.masks; ++m)
                    logits[m][row * 4 * grid_w + column] = values[(x * 16 + part) * columns + m];
            }
        }
    }
}

}  // namespace segrid::upscale
