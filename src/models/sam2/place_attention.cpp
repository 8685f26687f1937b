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

// Queries of a block. With fewer of them keys would be read more often, and the keys of several
// frames are more than the caches hold.
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

}  // namespace

// The running softmax over several sets of keys, of which each query reads the values' mean.
class PlaceAttention::Reading {
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
    // scores: of the keys [first, first + count). next: what is read after their values.
    void read(int64_t first, int64_t count, Rows<float> scores,
              std::span<const ReadNext> next = {}) {
        for (int64_t r = 0; r < rows_; ++r) {
            const float factor = running_softmax_row(count, scores[r], max_[r], sum_[r]);
            if (begun_ && factor != 1.0F) scale_row(width_, factor, out_[r]);
        }
        matmul(rows_, width_, count, scores, values_.from_row(first), out_, begun_, next);
        begun_ = true;
    }
    // The values of the keys [first, first + count): as many pieces as their factor has strips.
    std::span<const ReadNext> values(int64_t first, int64_t count) {
        const Factor own = values_.from_row(first);
        const int64_t step = own.strip > 0 ? own.ld : width_;
        pieces_.clear();
        for (int64_t c = 0; c < width_; c += step) {
            pieces_.push_back(
                {own.from_column(c).fp32, count * own.ld * static_cast<int64_t>(sizeof(float))});
        }
        return pieces_;
    }
    void finish() {
        for (int64_t r = 0; r < rows_; ++r) scale_row(width_, 1.0F / sum_[r], out_[r]);
    }

private:
    int64_t rows_, width_;
    Factor values_;
    Rows<float> out_;
    float *max_, *sum_;
    bool begun_ = false;
    std::vector<ReadNext> pieces_;
};

PlaceAttention::PlaceAttention(const at::Tensor& weight, const at::Tensor& bias, int64_t heads,
                               int64_t grid, double theta, int64_t pooling, int64_t columns)
    : grid_(grid),
      dim_(weight.size(0) / heads),
      width_(weight.size(1)),
      columns_(columns > 0 ? columns : columns_at_once(grid, width_)) {
    const at::Tensor all = at::cat({weight, bias.unsqueeze(1)}, 1);
    const at::Tensor conjugate = at::tensor({1.0F, -1.0F}).view({1, 2, 1});
    for (int64_t h = 0; h < heads; ++h) {
        // [even or odd, column or row, pairs / 2, width + 1]
        const at::Tensor own = all.narrow(0, h * dim_, dim_).view({2, 2, dim_ / 4, width_ + 1});
        const auto half = [&](int64_t which) {
            return (own.select(1, which).permute({2, 0, 1}) * conjugate).flatten(1).contiguous();
        };
        heads_.push_back({half(0), half(1), own.flatten(0, 2).contiguous()});
    }
    // The first row of the grid has the angles of all columns, and rows have the same.
    const at::Tensor angles = plain::rotary_angles(grid, dim_, theta, pooling)
                                  .narrow(0, 0, grid)
                                  .narrow(1, 0, dim_ / 4)
                                  .to(at::kDouble);
    const auto as_floats = [](const at::Tensor& x) { return x.to(at::kFloat).contiguous(); };
    const at::Tensor middle = (angles[0] + angles[grid - 1]) / 2;
    const at::Tensor beyond = (angles.narrow(0, grid / 2, grid / 2) - middle).t();
    cos_ = as_floats(beyond.cos());
    sin_ = as_floats(beyond.sin());
    cos_middle_ = as_floats(middle.cos().repeat({2}));
    sin_middle_ = as_floats(middle.neg().sin().repeat({2}));
}

// Where z is a query's pairs at the middle as complex numbers, and w a channel of the weight, the
// place that lies d beyond the middle gets the sum over pairs of
//   Re(z e^(-i d t) conj(w)) = cos(d t) Re(z conj(w)) + sin(d t) Im(z conj(w)),
// with t the pair's frequency, and the place as far before the middle the difference of the two.
void PlaceAttention::fold(const at::Tensor& weight, const float* real, const float* imaginary,
                          float* folded, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t quarter = dim_ / 4, channels = width_ + 1, half = grid_ / 2;
    float* products = arena.take<float>(channels * 2 * quarter);
    turn_rows(channels, quarter, real, imaginary, weight.const_data_ptr<float>(), products);
    float* even = arena.take<float>(channels * half);
    float* odd = arena.take<float>(channels * half);
    const Rows<const float> cos{cos_.const_data_ptr<float>(), half},
        sin{sin_.const_data_ptr<float>(), half};
    matmul(channels, half, quarter, {products, 2 * quarter}, cos, {even, half});
    matmul(channels, half, quarter, {products + quarter, 2 * quarter}, sin, {odd, half});
    for (int64_t c = 0; c < channels; ++c, even += half, odd += half) {
        float *after = folded + c * grid_ + half, *before = folded + c * grid_;
        for (int64_t j = 0; j < half; ++j) after[j] = even[j] + odd[j];
        for (int64_t j = 0; j < half; ++j) before[j] = even[half - 1 - j] - odd[half - 1 - j];
    }
}

// The keys that have no place: (W u + b) . q, with W^T q as one row for all of them.
void PlaceAttention::read_pointers(const Head& head, const MemoryTokens& memory, int64_t rows,
                                   const float* q, Reading& reading, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t channels = width_ + 1, pointers = memory.pointers;
    float* keys = arena.take<float>(channels * pointers);
    transpose(pointers, width_, memory.pointer_keys(), width_, keys, pointers);
    std::fill_n(keys + width_ * pointers, pointers, 1.0F);
    float* folded = arena.take<float>(rows * channels);
    float* scores = arena.take<float>(rows * pointers);
    matmul(rows, channels, dim_, {q, dim_},
           Rows<const float>{head.whole.const_data_ptr<float>(), channels}, {folded, channels});
    matmul(rows, pointers, channels, {folded, channels}, Rows<const float>{keys, pointers},
           {scores, pointers});
    if (memory.pointer_bias != 0) {
        std::for_each_n(scores, rows * pointers,
                        [&](float& score) { score += memory.pointer_bias; });
    }
    reading.read(memory.on_grids(), pointers, {scores, pointers});
}

void PlaceAttention::fold(const Head& head, int64_t rows, float* q, float* across, float* down,
                          Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t quarter = dim_ / 4, channels = width_ + 1, group = place_group();
    float* folded = arena.take<float>(channels * grid_);
    for (int64_t r = 0; r < rows; ++r, q += dim_) {
        turn_row(2 * quarter, cos_middle_.const_data_ptr<float>(),
                 sin_middle_.const_data_ptr<float>(), q);
        fold(head.down, q + quarter, q + 3 * quarter, folded, arena);
        transpose(channels, grid_, folded, grid_, down + r * channels, rows * channels);
        fold(head.across, q, q + 2 * quarter, folded, arena);
        for (int64_t x = 0; x < grid_; x += group) {
            float* to = across + (x / group * rows + r) * channels * group;
            for (int64_t c = 0; c < channels; ++c)
                std::copy_n(folded + c * grid_ + x, group, to + c * group);
        }
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
    Reading reading(rows, memory.values.from_column(0), width_, out, arena);
    if (memory.pointers > 0) read_pointers(head, memory, rows, q, reading, arena);
    float* across = arena.take<float>(rows * grid_ * channels);
    float* down = arena.take<float>(rows * grid_ * channels);
    fold(head, rows, q, across, down, arena);
    float* scores = arena.take<float>(rows * of.keys());
    // For each part of the columns, all rows of the grid. While scores are computed the values are
    // prefetched, and while values are read the next keys are.
    const int64_t steps = grid_ / columns_ * grid_, size = of.keys() * width_;
    const auto first_key = [&](int64_t step) {
        return (step % grid_ * grid_ + step / grid_ * columns_) * memory.frames;
    };
    const auto keys = [&](int64_t step) {
        return memory.keys.const_data_ptr<float>() + first_key(step) * width_;
    };
    for (int64_t step = 0; step < steps; ++step) {
        const int64_t part = step / grid_, y = step % grid_, first = first_key(step);
        const PlaceQueries queries{rows, across + part * rows * columns_ * channels,
                                   down + y * rows * channels};
        place_scores(of, queries, keys(step), {scores, of.keys()},
                     reading.values(first, of.keys()));
        const ReadNext next{keys(step + 1), size * static_cast<int64_t>(sizeof(float))};
        reading.read(first, of.keys(), {scores, of.keys()},
                     {&next, step + 1 < steps ? std::size_t{1} : std::size_t{0}});
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
