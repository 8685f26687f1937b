#include "models/sam2/place_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cpu.h"
#include "kernels/rows/op.h"
#include "models/sam2/memory_attention_plain.h"

namespace segrid::sam2 {
namespace {

// Queries that meet keys together. With fewer of them, keys would be read more often, and those of
// several frames are more than the caches hold.
constexpr int64_t kQueries = 64;

// Columns of the grid that kQueries attend to together: what the queries become for them has to
// stay in the second-level cache, beside keys.
int64_t columns_at_once(int64_t grid, int64_t width) {
    const int64_t room = second_level_cache() * 6 / 10;
    const auto fits = [&](int64_t columns) {
        return kQueries * columns * (width + 1) * static_cast<int64_t>(sizeof(float)) <= room;
    };
    int64_t columns = grid;
    while (columns % 32 == 0 && !fits(columns)) columns /= 2;
    return columns;
}

// The running softmax over several sets of keys, of which each query reads the values' mean.
class Reading {
public:
    Reading(int64_t rows, const Factor& values, int64_t width, Rows<float> out, Arena& arena)
        : rows_(rows),
          width_(width),
          values_(values),
          out_(out),
          max_(arena.take<float>(rows)),
          sum_(arena.take<float>(rows)) {
        std::fill_n(max_, rows, -std::numeric_limits<float>::infinity());
        std::fill_n(sum_, rows, 0.0F);
    }
    // scores: of the keys [first, first + count).
    void read(int64_t first, int64_t count, Rows<float> scores) {
        for (int64_t r = 0; r < rows_; ++r) {
            const float factor = running_softmax_row(count, scores[r], max_[r], sum_[r]);
            if (first > 0 && factor != 1.0F) scale_row(width_, factor, out_[r]);
        }
        matmul(rows_, width_, count, scores, values_.from_row(first), out_, first > 0);
    }
    void finish() {
        for (int64_t r = 0; r < rows_; ++r) scale_row(width_, 1.0F / sum_[r], out_[r]);
    }

private:
    int64_t rows_, width_;
    Factor values_;
    Rows<float> out_;
    float *max_, *sum_;
};

}  // namespace

PlaceAttention::PlaceAttention(const at::Tensor& weight, const at::Tensor& bias, int64_t heads,
                               int64_t grid, double theta, int64_t pooling, int64_t columns)
    : grid_(grid),
      dim_(weight.size(0) / heads),
      width_(weight.size(1)),
      columns_(columns > 0 ? columns : columns_at_once(grid, width_)) {
    const at::Tensor all = at::cat({weight, bias.unsqueeze(1)}, 1);
    for (int64_t h = 0; h < heads; ++h) {
        // [even or odd, column or row, pairs / 2, width + 1]
        const at::Tensor own = all.narrow(0, h * dim_, dim_).view({2, 2, dim_ / 4, width_ + 1});
        const auto half = [&](int64_t which) { return own.select(1, which).flatten(0, 1); };
        heads_.push_back(
            {half(0).t().contiguous(), half(1).contiguous(), own.flatten(0, 2).contiguous()});
    }
    // The first row of the grid has the angles of all columns.
    const at::Tensor angles =
        plain::rotary_angles(grid, dim_, theta, pooling).narrow(0, 0, grid).narrow(1, 0, dim_ / 4);
    cos_rows_ = angles.cos().contiguous();
    sin_rows_ = angles.neg().sin().contiguous();
    const auto by_parts = [&](const at::Tensor& rows) {
        return rows.unflatten(0, {-1, columns_}).transpose(1, 2).contiguous();
    };
    cos_ = by_parts(cos_rows_);
    sin_ = by_parts(sin_rows_);
}

void PlaceAttention::fold_across(const Head& head, int64_t part, const float* q, float* across,
                                 Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t quarter = dim_ / 4, channels = width_ + 1, group = place_group();
    float* turned = arena.take<float>(2 * quarter * columns_);  // a query, turned for every column
    float* folded = arena.take<float>(channels * columns_);
    for (int64_t p = 0; p < quarter; ++p) {
        std::fill_n(turned + p * columns_, columns_, q[p]);
        std::fill_n(turned + (quarter + p) * columns_, columns_, q[2 * quarter + p]);
    }
    turn_row(quarter * columns_, cos_.const_data_ptr<float>() + part * quarter * columns_,
             sin_.const_data_ptr<float>() + part * quarter * columns_, turned);
    matmul(channels, columns_, 2 * quarter, {head.across.const_data_ptr<float>(), 2 * quarter},
           Rows<const float>{turned, columns_}, {folded, columns_});
    for (int64_t g = 0; g < columns_; g += group) {
        for (int64_t c = 0; c < channels; ++c, across += group)
            std::copy_n(folded + c * columns_ + g, group, across);
    }
}

void PlaceAttention::fold_down(const Head& head, int64_t rows, const float* q, float* down,
                               Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t quarter = dim_ / 4, channels = width_ + 1;
    float* turned = arena.take<float>(rows * 2 * quarter);
    for (int64_t y = 0; y < grid_; ++y, down += rows * channels) {
        for (int64_t r = 0; r < rows; ++r) {
            float* row = turned + r * 2 * quarter;
            std::copy_n(q + r * dim_ + quarter, quarter, row);
            std::copy_n(q + r * dim_ + 3 * quarter, quarter, row + quarter);
            turn_row(quarter, cos_rows_.const_data_ptr<float>() + y * quarter,
                     sin_rows_.const_data_ptr<float>() + y * quarter, row);
        }
        matmul(rows, channels, 2 * quarter, {turned, 2 * quarter},
               Rows<const float>{head.down.const_data_ptr<float>(), channels}, {down, channels});
    }
}

void PlaceAttention::attend(const Head& head, const MemoryTokens& memory, int64_t rows,
                            Rows<const float> q_in, Rows<float> out, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const PlaceKeys of{.places = columns_, .frames = memory.frames, .width = width_};
    const int64_t channels = width_ + 1;
    float* q = arena.take<float>(rows * dim_);
    for (int64_t r = 0; r < rows; ++r) std::copy_n(q_in[r], dim_, q + r * dim_);
    scale_row(rows * dim_, 1.0F / std::sqrt(static_cast<float>(dim_)), q);
    float* down = arena.take<float>(grid_ * rows * channels);
    fold_down(head, rows, q, down, arena);
    float* across = arena.take<float>(rows * columns_ * channels);
    float* scores = arena.take<float>(rows * std::max(of.keys(), memory.pointers));
    Reading reading(rows, memory.values.from_column(0), width_, out, arena);
    for (int64_t part = 0; part * columns_ < grid_; ++part) {
        for (int64_t r = 0; r < rows; ++r)
            fold_across(head, part, q + r * dim_, across + r * columns_ * channels, arena);
        for (int64_t y = 0; y < grid_; ++y) {
            const int64_t first = (y * grid_ + part * columns_) * memory.frames;
            place_scores(of, {rows, across, down + y * rows * channels},
                         memory.keys.const_data_ptr<float>() + first * width_, {scores, of.keys()});
            reading.read(first, of.keys(), {scores, of.keys()});
        }
    }
    if (memory.pointers > 0) {
        float* keys = arena.take<float>(channels * memory.pointers);
        transpose(memory.pointers, width_, memory.pointer_keys(), width_, keys, memory.pointers);
        std::fill_n(keys + width_ * memory.pointers, memory.pointers, 1.0F);
        float* folded = arena.take<float>(rows * channels);
        matmul(rows, channels, dim_, {q, dim_},
               Rows<const float>{head.whole.const_data_ptr<float>(), channels}, {folded, channels});
        matmul(rows, memory.pointers, channels, {folded, channels},
               Rows<const float>{keys, memory.pointers}, {scores, memory.pointers});
        if (memory.pointer_bias != 0) {
            std::for_each_n(scores, rows * memory.pointers,
                            [&](float& score) { score += memory.pointer_bias; });
        }
        reading.read(memory.on_grids(), memory.pointers, {scores, memory.pointers});
    }
    reading.finish();
}

void PlaceAttention::operator()(const MemoryTokens& memory, int64_t rows, const float* q,
                                float* out, Arena& arena) const {
    const auto heads = static_cast<int64_t>(heads_.size());
    for (int64_t first = 0; first < rows; first += kQueries) {
        for (int64_t h = 0; h < heads; ++h) {
            attend(heads_[static_cast<std::size_t>(h)], memory, std::min(kQueries, rows - first),
                   {q + (first * heads + h) * dim_, heads * dim_},
                   {out + (first * heads + h) * width_, heads * width_}, arena);
        }
    }
}

}  // namespace segrid::sam2
