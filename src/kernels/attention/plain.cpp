// The definition, in ATen operations, for the query rows asked for.
#include <ATen/ATen.h>

#include "kernels/attention/implementations.h"

namespace segrid::attention {

void plain(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq, float* out, int64_t ldo, Arena&) {
    const auto view = [](const float* p, at::IntArrayRef shape, at::IntArrayRef strides) {
        return at::from_blob(const_cast<float*>(p), shape, strides);
    };
    const int64_t tokens = a.grid_h * a.grid_w, dim = a.head_dim, panel = PackedHead::kPanel;
    const int64_t panels = (tokens + panel - 1) / panel;
    const at::Tensor queries = view(q, {rows, dim}, {ldq, 1});
    const at::Tensor keys = view(a.head.keys, {panels, dim, panel}, {dim * panel, panel, 1})
                                .transpose(1, 2).reshape({panels * panel, dim}).narrow(0, 0, tokens);
    at::Tensor scores = a.scale * queries.matmul(keys.t());
    if (a.positions != nullptr && a.positions->present()) {
        const int64_t width = a.positions->width(), across = 2 * a.grid_h - 1;
        const at::Tensor both = queries.matmul(view(a.positions->data(), {dim, width}, {width, 1}));
        const at::Tensor index = at::arange(first, first + rows, at::kLong);
        const at::Tensor y = (a.grid_h - 1 - at::floor_divide(index, a.grid_w)).unsqueeze(1) + at::arange(a.grid_h, at::kLong);
        const at::Tensor x = (a.grid_w - 1 - at::remainder(index, a.grid_w)).unsqueeze(1) + at::arange(a.grid_w, at::kLong);
        const at::Tensor of_rows = both.narrow(1, 0, across).gather(1, y);
        const at::Tensor of_columns = both.narrow(1, across, width - across).gather(1, x);
        scores = scores.view({rows, a.grid_h, a.grid_w}) + of_rows.unsqueeze(2) + of_columns.unsqueeze(1);
    }
    at::Tensor result = view(out, {rows, dim}, {ldo, 1});
    result.copy_(scores.reshape({rows, tokens}).softmax(1).matmul(view(a.head.values, {tokens, dim}, {dim, 1})));
}

}  // namespace segrid::attention
