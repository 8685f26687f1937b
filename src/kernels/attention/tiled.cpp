// Score tiles with a running softmax, built from gemm and rows: what runs where those have a fast implementation.
#include <algorithm>
#include <limits>

#include "kernels/attention/implementations.h"
#include "kernels/gemm/op.h"
#include "kernels/rows/op.h"

namespace segrid::attention {
namespace {

// In bf16 scores are kept in units of ln 2: a power of two is cheaper than one of e.
constexpr float kPerLn2 = 1.44269504F;

// What queries, keys and values are multiplied in, and a tile of scores between the two products.
class ScoreTile {
public:
    ScoreTile(const GridAttention& a, int64_t rows, const float* q, int64_t ldq, int64_t block, Arena& arena)
        : head_(a.head), dim_(a.head_dim), rows_(rows), block_(block), q_(q), ldq_(ldq), scores_(arena.take<float>(rows * block)) {
        if (!rounded()) return;
        depth_ = even(dim_);
        rounded_q_ = arena.take<uint16_t>(rows * depth_);
        for (int64_t r = 0; r < rows; ++r) {
            to_bf16(dim_, q + r * ldq, rounded_q_ + r * depth_);
            if (depth_ > dim_) rounded_q_[r * depth_ + dim_] = 0;
        }
        powers_ = arena.take<uint16_t>(rows * even(block));
    }

    bool rounded() const { return head_.keys.bf16 != nullptr; }
    float* row(int64_t r) { return scores_ + r * block_; }

    void ask(int64_t k0, int64_t count) {
        if (rounded()) matmul_panels(rows_, k0, count, depth_, rounded_q_, depth_, head_.keys, scores_, block_);
        else matmul_panels(rows_, k0, count, dim_, q_, ldq_, head_.keys, scores_, block_);
    }
    float soften(int64_t r, int64_t count, float& max, float& sum) {
        if (!rounded()) return running_softmax_row(count, row(r), max, sum);
        uint16_t* powers = powers_ + r * even(block_);
        if (count % 2 != 0) powers[count] = 0;
        return running_power_row(count, row(r), max, sum, powers);
    }
    void answer(int64_t k0, int64_t count, float* out, int64_t ldo) {
        const Factor values = head_.values.from_row(k0);
        if (rounded()) matmul(rows_, dim_, even(count), powers_, even(block_), values, out, ldo, k0 > 0);
        else matmul(rows_, dim_, count, scores_, block_, values, out, ldo, k0 > 0);
    }

private:
    const PackedHead& head_;
    int64_t dim_, rows_, block_, depth_ = 0;
    const float* q_;
    int64_t ldq_;
    float* scores_;
    uint16_t *rounded_q_ = nullptr, *powers_ = nullptr;
};

// Keys at a time: whole grid rows, so that a bias slice never breaks; an even number, since bf16 keeps values in pairs. In bf16 so few that a tile of scores stays
// in the first-level cache; in fp32 that is no gain.
int64_t block_of(const GridAttention& a) {
    const int64_t about = a.head.keys.bf16 != nullptr && a.grid_h * a.grid_w > 512 ? 128 : 512;
    int64_t grid_rows = std::max<int64_t>(1, std::min(a.grid_h, about / a.grid_w));
    if (grid_rows < a.grid_h && grid_rows * a.grid_w % 2 != 0) ++grid_rows;
    return grid_rows * a.grid_w;
}

}  // namespace

void tiled(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq, float* out, int64_t ldo,
           Arena& arena) {
    const Arena::Scope scope(arena);
    const int64_t tokens = a.grid_h * a.grid_w, dim = a.head_dim, block = block_of(a);
    const bool relative = a.positions != nullptr && a.positions->present();
    const int64_t bias_width = relative ? a.positions->width() : 0, across = 2 * a.grid_h - 1;
    ScoreTile tile(a, rows, q, ldq, block, arena);
    const float unit = tile.rounded() ? kPerLn2 : 1.0F;
    float* bias = nullptr;
    if (relative) {
        bias = arena.take<float>(rows * bias_width);
        matmul(rows, bias_width, dim, q, ldq, a.positions->data(), bias_width, bias, bias_width);
        if (unit != 1.0F) scale_row(rows * bias_width, unit, bias);
    }
    float* max = arena.take<float>(rows);
    float* sum = arena.take<float>(rows);
    std::fill_n(max, rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, rows, 0.0F);
    for (int64_t k0 = 0; k0 < tokens; k0 += block) {
        const int64_t count = std::min(block, tokens - k0);
        tile.ask(k0, count);
        for (int64_t r = 0; r < rows; ++r) {
            float* row = tile.row(r);
            if (relative) {
                const int64_t qy = (first + r) / a.grid_w, qx = (first + r) % a.grid_w;
                const float* of_rows = bias + r * bias_width + (a.grid_h - 1 - qy) + k0 / a.grid_w;
                const float* of_columns = bias + r * bias_width + across + (a.grid_w - 1 - qx);
                scale_add_rows(count / a.grid_w, a.grid_w, a.scale * unit, of_rows, of_columns, row);
            } else {
                scale_row(count, a.scale * unit, row);
            }
            if (a.bias != nullptr) blend_row(count, 1.0F, row, unit, a.bias + (first + r) * tokens + k0);
            const float factor = tile.soften(r, count, max[r], sum[r]);
            if (k0 > 0 && factor != 1.0F) scale_row(dim, factor, out + r * ldo);
        }
        tile.answer(k0, count, out, ldo);
    }
    for (int64_t r = 0; r < rows; ++r) scale_row(dim, 1.0F / sum[r], out + r * ldo);
}

}  // namespace segrid::attention
