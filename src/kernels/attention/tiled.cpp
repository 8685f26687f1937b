// Score tiles with a running softmax, built from gemm and rows: what runs where those have a fast implementation.
#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/attention/implementations.h"
#include "kernels/gemm/op.h"
#include "kernels/rows/op.h"

namespace segrid::attention {

void tiled(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq, float* out, int64_t ldo,
           Arena& arena) {
    const Arena::Scope scope(arena);
    const int64_t tokens = a.grid_h * a.grid_w, dim = a.head_dim;
    const bool relative = a.positions != nullptr && a.positions->present();
    const int64_t bias_width = relative ? a.positions->width() : 0, across = 2 * a.grid_h - 1;
    float* bias = nullptr;
    if (relative) {
        bias = arena.take<float>(rows * bias_width);
        matmul(rows, bias_width, dim, q, ldq, a.positions->data(), bias_width, bias, bias_width);
    }
    // Whole grid rows of keys, about 512 of them, so that a bias slice never breaks; an even number, since bf16 keeps values in pairs.
    int64_t grid_rows = std::max<int64_t>(1, std::min(a.grid_h, 512 / a.grid_w));
    if (grid_rows < a.grid_h && grid_rows * a.grid_w % 2 != 0) ++grid_rows;
    const int64_t block = grid_rows * a.grid_w;
    float* scores = arena.take<float>(rows * block);
    float* max = arena.take<float>(rows);
    float* sum = arena.take<float>(rows);
    std::fill_n(max, rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, rows, 0.0F);
    for (int64_t k0 = 0; k0 < tokens; k0 += block) {
        const int64_t count = std::min(block, tokens - k0);
        matmul_panels(rows, k0, count, dim, q, ldq, a.head.keys, scores, block);
        for (int64_t r = 0; r < rows; ++r) {
            float* row = scores + r * block;
            if (relative) {
                const int64_t qy = (first + r) / a.grid_w, qx = (first + r) % a.grid_w;
                const float* of_rows = bias + r * bias_width + (a.grid_h - 1 - qy) + k0 / a.grid_w;
                const float* of_columns = bias + r * bias_width + across + (a.grid_w - 1 - qx);
                for (int64_t y = 0; y < count / a.grid_w; ++y) {
                    scale_add_row(a.grid_w, a.scale, of_rows[y], of_columns, row + y * a.grid_w);
                }
            } else {
                scale_row(count, a.scale, row);
            }
            if (a.bias != nullptr) add(count, row, a.bias + (first + r) * tokens + k0, row);
            const float factor = running_softmax_row(count, row, max[r], sum[r]);
            if (k0 > 0 && factor != 1.0F) scale_row(dim, factor, out + r * ldo);
        }
        matmul(rows, dim, count, scores, block, a.head.values.from_row(k0), out, ldo, k0 > 0);
    }
    for (int64_t r = 0; r < rows; ++r) scale_row(dim, 1.0F / sum[r], out + r * ldo);
}

}  // namespace segrid::attention
