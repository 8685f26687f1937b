// Score tiles with a running softmax, built from gemm and rows. Used where those have a fast
// implementation.
#include <algorithm>
#include <limits>
#include <vector>

#include "core/cpu.h"
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

// Whether the products in bf16 are those of AMX, which are faster when they are larger.
bool on_amx() { return cpu_features().amx && !sums_can_start(); }

// Queries that meet a block of keys together. While further tiles of queries meet the block, it
// stays in the second-level cache.
int64_t query_tile() { return on_amx() ? 128 : 64; }

// Keys at a time: whole grid rows, so that a bias slice is never split, and an even number, because
// bf16 keeps values in pairs. Where there are many in bf16, a block is small enough that a tile of
// scores stays in the first-level cache; in fp32 that brings no gain.
int64_t block_of(const GridAttention& a) {
    const bool many = a.head.keys.bf16 != nullptr && a.grid_h * a.grid_w > 512;
    const int64_t about = many && !on_amx() ? 128 : 512;
    int64_t grid_rows = std::max<int64_t>(1, std::min(a.grid_h, about / a.grid_w));
    if (grid_rows < a.grid_h && grid_rows * a.grid_w % 2 != 0) ++grid_rows;
    return grid_rows * a.grid_w;
}

// The scores of a tile of queries against a block of keys, and their powers in bf16. Every tile
// writes them anew.
struct Scores {
    Scores(int64_t queries, int64_t keys, bool rounded, Arena& arena)
        : values{arena.take<float>(queries * keys), keys} {
        // Every row begins with a cache line (see gemm/op.cpp).
        if (rounded)
            powers = {arena.take<uint16_t>(queries * ((keys + 31) / 32 * 32)),
                      (keys + 31) / 32 * 32};
    }
    Rows<float> values;
    Rows<uint16_t> powers;
};

// A tile of queries, and the running softmax over the blocks of keys that they have met.
class QueryTile {
public:
    QueryTile(const GridAttention& a, int64_t first, int64_t rows, Rows<const float> q,
              Rows<float> out, Arena& arena)
        : a_(a),
          first_(first),
          rows_(rows),
          relative_(a.positions != nullptr && a.positions->present()),
          q_(arena.take<float>(rows * a.head_dim)),
          max_(arena.take<float>(rows)),
          sum_(arena.take<float>(rows)),
          out_(out) {
        std::fill_n(max_, rows, -std::numeric_limits<float>::infinity());
        std::fill_n(sum_, rows, 0.0F);
        for (int64_t r = 0; r < rows; ++r) std::copy_n(q[r], a.head_dim, q_ + r * a.head_dim);
        // As in segment-anything, q is multiplied by the scale.
        scale_row(rows * a.head_dim, a.scale * unit(), q_);
        if (rounded()) {
            depth_ = even(a.head_dim);
            rounded_q_ = arena.take<uint16_t>(rows * depth_);
            to_bf16_rows(rows, a.head_dim, q_, a.head_dim, rounded_q_);
        }
        if (!relative_) return;
        const int64_t width = a.positions->width();
        bias_ = {arena.take<float>(rows * width), width};
        matmul(rows, width, a.head_dim, q, {a.positions->data(), width}, bias_);
        if (unit() != 1.0F) scale_row(rows * width, unit(), bias_.data);
        // If each panel of keys lies in one row of the grid, and the queries do too, the products'
        // sums begin with the positions.
        in_products_ = rounded() && sums_can_start() && a.grid_w % kPanel == 0 &&
                       first % a.grid_w + rows <= a.grid_w;
    }

    // Meets the keys [k0, k0 + count). They begin and end with a row of the grid.
    void meet(int64_t k0, int64_t count, const Scores& scores) {
        if (in_products_) ask_from_positions(k0, count, scores.values);
        else ask(k0, count, scores.values);
        for (int64_t r0 = 0; r0 < rows_; r0 += kTogether) {
            const int64_t end = std::min(rows_, r0 + kTogether);
            for (int64_t r = r0; r < end; ++r) add_biases(r, k0, count, scores.values[r]);
            for (int64_t r = r0; r < end; ++r) {
                const float factor = soften(r, count, scores);
                if (k0 > 0 && factor != 1.0F) scale_row(a_.width(), factor, out_[r]);
            }
        }
        const Factor values = a_.head.values.from_row(k0);
        if (rounded()) matmul(rows_, a_.width(), even(count), scores.powers, values, out_, k0 > 0);
        else matmul(rows_, a_.width(), count, scores.values, values, out_, k0 > 0);
    }
    void finish() {
        for (int64_t r = 0; r < rows_; ++r) scale_row(a_.width(), 1.0F / sum_[r], out_[r]);
    }

private:
    bool rounded() const { return a_.head.keys.bf16 != nullptr; }
    float unit() const { return rounded() ? kPerLn2 : 1.0F; }
    // Query r's biases for the rows and the columns of the grid, from its first ones on.
    const float* of_rows(int64_t r) const {
        return bias_[r] + (a_.grid_h - 1 - (first_ + r) / a_.grid_w);
    }
    const float* of_columns(int64_t r) const {
        return bias_[r] + (2 * a_.grid_h - 1) + (a_.grid_w - 1 - (first_ + r) % a_.grid_w);
    }

    void ask(int64_t k0, int64_t count, Rows<float> scores) const {
        if (rounded())
            matmul_panels(rows_, k0, count, depth_, {rounded_q_, depth_}, a_.head.keys, scores);
        else matmul_panels(rows_, k0, count, a_.head_dim, {q_, a_.head_dim}, a_.head.keys, scores);
    }
    void ask_from_positions(int64_t k0, int64_t count, Rows<float> scores) const {
        for (int64_t c = 0; c < count; c += kPanel) {
            const Start start{of_rows(0) + (k0 + c) / a_.grid_w, bias_.stride,
                              of_columns(0) + c % a_.grid_w, bias_.stride - 1};
            matmul_panel(rows_, k0 + c, depth_, {rounded_q_, depth_}, a_.head.keys,
                         scores.from_column(c), start);
        }
    }
    void add_biases(int64_t r, int64_t k0, int64_t count, float* scores) const {
        if (relative_ && !in_products_)
            offset_rows(count / a_.grid_w, a_.grid_w, of_rows(r) + k0 / a_.grid_w, of_columns(r),
                        scores);
        const int64_t tokens = a_.grid_h * a_.grid_w;
        if (a_.bias != nullptr)
            blend_row(count, 1.0F, scores, unit(), a_.bias + (first_ + r) * tokens + k0);
        if (a_.key_bias != nullptr) blend_row(count, 1.0F, scores, unit(), a_.key_bias + k0);
    }
    float soften(int64_t r, int64_t count, const Scores& scores) {
        if (!rounded()) return running_softmax_row(count, scores.values[r], max_[r], sum_[r]);
        uint16_t* powers = scores.powers[r];
        if (count % 2 != 0) powers[count] = 0;
        return running_power_row(count, scores.values[r], max_[r], sum_[r], powers);
    }

    const GridAttention& a_;
    int64_t first_, rows_, depth_ = 0;
    bool relative_, in_products_ = false;
    float* q_;
    uint16_t* rounded_q_ = nullptr;
    Rows<float> bias_;
    float *max_, *sum_;
    Rows<float> out_;
};

}  // namespace

void tiled(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq,
           float* out, int64_t ldo, Arena& arena) {
    const Arena::Lifetime scope(arena);
    const int64_t tokens = a.grid_h * a.grid_w, block = block_of(a);
    // All at once if there is only one block.
    const int64_t size = block < tokens ? query_tile() : std::max<int64_t>(rows, 1);
    const Scores scores(std::min(rows, size), block, a.head.keys.bf16 != nullptr, arena);
    std::vector<QueryTile> tiles;
    tiles.reserve(static_cast<std::size_t>((rows + size - 1) / size));
    for (int64_t r = 0; r < rows; r += size) {
        tiles.emplace_back(a, first + r, std::min(size, rows - r),
                           Rows<const float>{q, ldq}.from_row(r), Rows<float>{out, ldo}.from_row(r),
                           arena);
    }
    for (int64_t k0 = 0; k0 < tokens; k0 += block) {
        for (QueryTile& tile : tiles) tile.meet(k0, std::min(block, tokens - k0), scores);
    }
    for (QueryTile& tile : tiles) tile.finish();
}

}  // namespace segrid::attention
