// The definition in ATen operations, for the given query rows.
#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/attention/implementations.h"

namespace segrid::attention {

void plain(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq,
           float* out, int64_t ldo, Arena&) {
    const auto view = [](const float* p, at::IntArrayRef shape, at::IntArrayRef strides) {
        return at::from_blob(const_cast<float*>(p), shape, strides);
    };
    const int64_t tokens = a.grid_h * a.grid_w, dim = a.head_dim,
                  depth = a.head.keys.bf16 != nullptr ? even(dim) : dim;
    const at::Tensor queries = view(q, {rows, dim}, {ldq, 1});
    std::vector<at::Tensor> panels;
    for (int64_t k = 0; k < tokens; k += kPanel) {
        panels.push_back(
            widened(a.head.keys.panel(k / kPanel, depth), dim, std::min(kPanel, tokens - k)));
    }
    at::Tensor scores = a.scale * queries.matmul(at::cat(panels, 1));
    if (a.positions != nullptr && a.positions->present()) {
        const int64_t width = a.positions->width(), across = 2 * a.grid_h - 1;
        const at::Tensor both = queries.matmul(view(a.positions->data(), {dim, width}, {width, 1}));
        const at::Tensor index = at::arange(first, first + rows, at::kLong);
        const at::Tensor y = (a.grid_h - 1 - at::floor_divide(index, a.grid_w)).unsqueeze(1) +
                             at::arange(a.grid_h, at::kLong);
        const at::Tensor x = (a.grid_w - 1 - at::remainder(index, a.grid_w)).unsqueeze(1) +
                             at::arange(a.grid_w, at::kLong);
        const at::Tensor of_rows = both.narrow(1, 0, across).gather(1, y);
        const at::Tensor of_columns = both.narrow(1, across, width - across).gather(1, x);
        scores = scores.view({rows, a.grid_h, a.grid_w}) + of_rows.unsqueeze(2) +
                 of_columns.unsqueeze(1);
    }
    if (a.bias != nullptr)
        scores = scores.reshape({rows, tokens}) +
                 view(a.bias + first * tokens, {rows, tokens}, {tokens, 1});
    if (a.key_bias != nullptr)
        scores = scores.reshape({rows, tokens}) + view(a.key_bias, {tokens}, {1});
    at::Tensor result = view(out, {rows, a.width()}, {ldo, 1});
    result.copy_(scores.reshape({rows, tokens})
                     .softmax(1)
                     .matmul(widened(a.head.values, tokens, a.width())));
}

}  // namespace segrid::attention
