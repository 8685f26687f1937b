// Score tiles with a running softmax, built from gemm and rows. Used where those have a fast
// implementation.
#include <algorithm>
#include <limits>

#include "kernels/attention/implementations.h"
#include "kernels/gemm/op.h"
#include "kernels/rows/op.h"

namespace segrid::attention {
namespace {

// In bf16, scores are kept in units of ln 2, because a power of two is cheaper than a power of e.
constexpr float kPerLn2 = 1.44269504F;

// Rows of scores processed together. If a row were read immediately after it was written with
// vectors of another size (a window's 14 columns), the reads would wait for the writes.
constexpr int64_t kTogether = 4;

// The queries, keys and values of a tile in the precision of the products, and the tile of scores
// between the two products.
class ScoreTile {
public:
    // scale: the factor of q.k. As in segment-anything, q is multiplied by it.
    ScoreTile(const GridAttention& a, int64_t rows, const float* q, int64_t ldq, float scale,
              int64_t block, Arena& arena)
        : head_(a.head),
          dim_(a.head_dim),
          width_(a.width()),
          rows_(rows),
          block_(block),
          q_(arena.take<float>(rows * a.head_dim)),
          scores_(arena.take<float>(rows * block)) {
        for (int64_t r = 0; r < rows; ++r) std::copy_n(q + r * ldq, dim_, q_ + r * dim_);
        scale_row(rows * dim_, scale, q_);
        if (!rounded()) return;
        depth_ = even(dim_);
        rounded_q_ = arena.take<uint16_t>(rows * depth_);
        to_bf16_rows(rows, dim_, q_, dim_, rounded_q_);
        powers_ = arena.take<uint16_t>(rows * stride());
    }

    bool rounded() const { return head_.keys.bf16 != nullptr; }
    float* row(int64_t r) { return scores_ + r * block_; }

    // Computes the scores of keys [k0, k0 + count).
    void ask(int64_t k0, int64_t count) {
        if (rounded())
            matmul_panels(rows_, k0, count, depth_, {rounded_q_, depth_}, head_.keys, scores());
        else matmul_panels(rows_, k0, count, dim_, {q_, dim_}, head_.keys, scores());
    }
    // Computes the scores of one panel of keys, in bf16, whose sums begin with start.
    void ask_from(const Start& start, int64_t k0, int64_t column) {
        matmul_panel(rows_, k0 + column, depth_, {rounded_q_, depth_}, head_.keys,
                     scores().from_column(column), start);
    }
    float soften(int64_t r, int64_t count, float& max, float& sum) {
        if (!rounded()) return running_softmax_row(count, row(r), max, sum);
        uint16_t* powers = powers_ + r * stride();
        if (count % 2 != 0) powers[count] = 0;
        return running_power_row(count, row(r), max, sum, powers);
    }
    void answer(int64_t k0, int64_t count, Rows<float> out) {
        const Factor values = head_.values.from_row(k0);
        if (rounded()) matmul(rows_, width_, even(count), {powers_, stride()}, values, out, k0 > 0);
        else matmul(rows_, width_, count, scores(), values, out, k0 > 0);
    }

private:
    // The powers' stride: every row begins with a cache line (see gemm/op.cpp).
    int64_t stride() const { return (block_ + 31) / 32 * 32; }
    Rows<float> scores() const { return {scores_, block_}; }

    const PackedHead& head_;
    int64_t dim_, width_, rows_, block_, depth_ = 0;
    float *q_, *scores_;
    uint16_t *rounded_q_ = nullptr, *powers_ = nullptr;
};

// Keys at a time: whole grid rows, so that a bias slice is never split, and an even number, because
// bf16 keeps values in pairs. In bf16 they are few enough that a tile of scores stays in the
// first-level cache; in fp32 that brings no gain.
int64_t block_of(const GridAttention& a) {
    const int64_t about = a.head.keys.bf16 != nullptr && a.grid_h * a.grid_w > 512 ? 128 : 512;
    int64_t grid_rows = std::max<int64_t>(1, std::min(a.grid_h, about / a.grid_w));
    if (grid_rows < a.grid_h && grid_rows * a.grid_w % 2 != 0) ++grid_rows;
    return grid_rows * a.grid_w;
}

}  // namespace

void tiled(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq,
           float* out, int64_t ldo, Arena& arena) {
    const Arena::Lifetime scope(arena);
    const int64_t tokens = a.grid_h * a.grid_w, dim = a.head_dim, block = block_of(a);
    const bool relative = a.positions != nullptr && a.positions->present();
    const int64_t bias_width = relative ? a.positions->width() : 0, across = 2 * a.grid_h - 1;
    const float unit = a.head.keys.bf16 != nullptr ? kPerLn2 : 1.0F;
    ScoreTile tile(a, rows, q, ldq, a.scale * unit, block, arena);
    // If each panel of keys lies in one row of the grid, and the queries do too, the products' sums
    // begin with the positions.
    const bool in_products = relative && tile.rounded() && sums_can_start() &&
                             a.grid_w % kPanel == 0 && first % a.grid_w + rows <= a.grid_w;
    float* bias = nullptr;
    if (relative) {
        bias = arena.take<float>(rows * bias_width);
        matmul(rows, bias_width, dim, {q, ldq}, {a.positions->data(), bias_width},
               {bias, bias_width});
        if (unit != 1.0F) scale_row(rows * bias_width, unit, bias);
    }
    float* max = arena.take<float>(rows);
    float* sum = arena.take<float>(rows);
    std::fill_n(max, rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, rows, 0.0F);
    for (int64_t k0 = 0; k0 < tokens; k0 += block) {
        const int64_t count = std::min(block, tokens - k0);
        if (in_products) {
            const int64_t qy = first / a.grid_w, qx = first % a.grid_w;
            for (int64_t c = 0; c < count; c += kPanel) {
                const float* of_rows = bias + (a.grid_h - 1 - qy) + (k0 + c) / a.grid_w;
                const float* of_columns = bias + across + (a.grid_w - 1 - qx) + c % a.grid_w;
                tile.ask_from({of_rows, bias_width, of_columns, bias_width - 1}, k0, c);
            }
        } else {
            tile.ask(k0, count);
        }
        const auto add_positions = [&](int64_t r) {
            float* row = tile.row(r);
            if (relative && !in_products) {
                const int64_t qy = (first + r) / a.grid_w, qx = (first + r) % a.grid_w;
                const float* of_rows = bias + r * bias_width + (a.grid_h - 1 - qy) + k0 / a.grid_w;
                const float* of_columns = bias + r * bias_width + across + (a.grid_w - 1 - qx);
                offset_rows(count / a.grid_w, a.grid_w, of_rows, of_columns, row);
            }
            if (a.bias != nullptr)
                blend_row(count, 1.0F, row, unit, a.bias + (first + r) * tokens + k0);
            if (a.key_bias != nullptr) blend_row(count, 1.0F, row, unit, a.key_bias + k0);
        };
        for (int64_t r0 = 0; r0 < rows; r0 += kTogether) {
            const int64_t end = std::min(rows, r0 + kTogether);
            for (int64_t r = r0; r < end; ++r) add_positions(r);
            for (int64_t r = r0; r < end; ++r) {
                const float factor = tile.soften(r, count, max[r], sum[r]);
                if (k0 > 0 && factor != 1.0F) scale_row(a.width(), factor, out + r * ldo);
            }
        }
        tile.answer(k0, count, {out, ldo});
    }
    for (int64_t r = 0; r < rows; ++r) scale_row(a.width(), 1.0F / sum[r], out + r * ldo);
}

}  // namespace segrid::attention
