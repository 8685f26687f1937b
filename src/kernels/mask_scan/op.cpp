#include "kernels/mask_scan/op.h"

#include <algorithm>
#include <bit>

#include "core/cpu.h"
#include "kernels/mask_scan/implementations.h"

namespace segrid {
namespace {

const mask_scan::Table& implementation() {
    static const KernelTables<mask_scan::Table> kernel(
        "mask_scan", {{"avx512", cpu_features().avx512 ? &mask_scan::avx512() : nullptr},
                      {"avx2", cpu_features().avx2 ? &mask_scan::avx2() : nullptr},
                      {"plain", &mask_scan::plain()}});
    return *kernel;
}

[[maybe_unused]] const bool registered = (implementation(), true);

struct Stretch {
    int64_t begin = 0, end = 0;
};

// Calls f(begin, end) for each run of ones among the bits [begin, end).
template <class F>
void for_each_run(const uint64_t* bits, int64_t begin, int64_t end, const F& f) {
    for (int64_t x = begin; x < end;) {
        const uint64_t ones = bits[x / 64] >> (x % 64);
        if (ones == 0) {
            x = (x / 64 + 1) * 64;
            continue;
        }
        x += std::countr_zero(ones);
        const int64_t from = x;
        while (x < end) {
            const uint64_t zeros = ~(bits[x / 64] >> (x % 64));
            const int64_t run = std::min<int64_t>(std::countr_zero(zeros), 64 - x % 64);
            x += run;
            if (run == 0 || x % 64 != 0) break;
        }
        if (from < end) f(from, std::min(x, end));
    }
}

// Bounds for one low-res row. live: from its first to its last value above the lowest level (empty
// if there is none). sure: its longest stretch above the highest level.
struct Reach {
    Stretch live, sure;
};

Reach reach_of(const mask_scan::Table& table, const float* row, int64_t count, float lowest,
               float highest, uint64_t* bits) {
    Reach reach;
    table.compare(row, count, lowest, bits);
    int64_t first = 0, last = (count + 63) / 64 - 1;
    while (first <= last && bits[first] == 0) ++first;
    if (first > last) return reach;
    while (bits[last] == 0) --last;
    reach.live = {first * 64 + std::countr_zero(bits[first]),
                  last * 64 + 64 - std::countl_zero(bits[last])};
    table.compare(row, count, highest, bits);
    for_each_run(bits, reach.live.begin, reach.live.end, [&](int64_t begin, int64_t end) {
        if (end - begin > reach.sure.end - reach.sure.begin) reach.sure = {begin, end};
    });
    return reach;
}

// Low-res rows expanded to the output's width, each only as far as requested. Row y lies in slot y
// % taps.
class Ring {
public:
    Ring(const mask_scan::Table& table, const ScanAxis& columns, const float* logits, int64_t slots,
         Arena& arena)
        : table_(table),
          columns_(columns),
          logits_(logits),
          count_(slots),
          values_(arena.take<float>(slots * columns.outputs)),
          slots_(arena.take<Slot>(slots)) {
        std::fill_n(slots_, slots, Slot{-1, {}});
    }

    // The result is valid in `wanted` until row y + slots is requested.
    const float* row(int64_t y, Stretch wanted) {
        Slot& slot = slots_[y % count_];
        float* out = values_ + y % count_ * columns_.outputs;
        const float* in = logits_ + y * columns_.inputs;
        if (slot.row != y) {
            slot = {y, wanted};
            table_.expand(columns_, in, wanted.begin, wanted.end, out);
        }
        if (wanted.begin < slot.held.begin) {
            table_.expand(columns_, in, wanted.begin, slot.held.begin, out);
            slot.held.begin = wanted.begin;
        }
        if (wanted.end > slot.held.end) {
            table_.expand(columns_, in, slot.held.end, wanted.end, out);
            slot.held.end = wanted.end;
        }
        return out;
    }

private:
    struct Slot {
        int64_t row;
        Stretch held;
    };
    const mask_scan::Table& table_;
    const ScanAxis& columns_;
    const float* logits_;
    int64_t count_;
    float* values_;
    Slot* slots_;
};

// The first output whose first input is `input` or a later one.
int64_t first_from(const ScanAxis& axis, int64_t input) {
    return std::lower_bound(axis.first.begin(), axis.first.end(), static_cast<int32_t>(input)) -
           axis.first.begin();
}

// The outputs that read any of these inputs; begins at a multiple of 64.
Stretch reading_any(const ScanAxis& axis, Stretch inputs) {
    return {first_from(axis, inputs.begin - axis.taps + 1) / 64 * 64, first_from(axis, inputs.end)};
}

// The outputs within a span that read only these inputs; both ends are multiples of 64.
Stretch reading_only(const ScanAxis& axis, Stretch inputs, Stretch limits) {
    const int64_t begin = std::max((first_from(axis, inputs.begin) + 63) / 64 * 64, limits.begin);
    const int64_t end =
        std::min(first_from(axis, inputs.end - axis.taps + 1), limits.end) / 64 * 64;
    if (begin >= end) return {limits.end, limits.end};
    return {begin, end};
}

// The first and the last set bit in [span.begin, span.end). At least one bit must be set, and
// span.begin must be a multiple of 64.
Stretch bounds_of(const uint64_t* bits, Stretch span) {
    const auto word = [&](int64_t w) {
        return span.end - w * 64 >= 64 ? bits[w]
                                       : bits[w] & ((uint64_t{1} << (span.end - w * 64)) - 1);
    };
    int64_t low = span.begin / 64, high = (span.end - 1) / 64;
    while (word(low) == 0) ++low;
    while (word(high) == 0) --high;
    return {low * 64 + std::countr_zero(word(low)), high * 64 + 64 - std::countl_zero(word(high))};
}

}  // namespace

void scan(const float* logits, const ScanPlan& plan, float threshold, float offset,
          ScanResult& result, Runs* runs, Arena& arena) {
    const mask_scan::Table& table = implementation();
    const Arena::Lifetime scope(arena);
    const ScanAxis& rows = plan.rows();
    const ScanAxis& columns = plan.columns();
    const int64_t width = columns.outputs, taps = rows.taps;
    result = {};
    if (runs != nullptr) runs->clear();

    uint64_t* bits = arena.take<uint64_t>(std::max(width, columns.inputs) / 64 + 1);
    Reach* reach = arena.take<Reach>(rows.inputs);
    for (int64_t y = 0; y < rows.inputs; ++y) {
        reach[y] = reach_of(table, logits + y * columns.inputs, columns.inputs, threshold - offset,
                            threshold + offset, bits);
    }
    Ring ring(table, columns, logits, taps, arena);
    float* weights = arena.take<float>(taps);
    int64_t* reads = arena.take<int64_t>(taps);
    const float** sources = arena.take<const float*>(taps);
    int64_t x_low = width, x_end = 0, y_low = -1, y_high = -1;
    for (int64_t y = 0; y < rows.outputs; ++y) {
        const int64_t first = rows.first[static_cast<std::size_t>(y)];
        Stretch live{columns.inputs, 0}, sure{0, columns.inputs};
        int64_t used = 0;
        for (int64_t t = 0; t < taps; ++t) {
            const float w = rows.weights[static_cast<std::size_t>(t * rows.outputs + y)];
            if (w == 0.0F) continue;
            weights[used] = w;
            reads[used++] = first + t;
            const Reach& r = reach[first + t];
            sure = {std::max(sure.begin, r.sure.begin), std::min(sure.end, r.sure.end)};
            if (r.live.begin < r.live.end)
                live = {std::min(live.begin, r.live.begin), std::max(live.end, r.live.end)};
        }
        // All inputs of this row are at or below the lowest level, so no pixel can be above it.
        if (live.begin >= live.end) continue;
        const Stretch part = reading_any(columns, live);
        const Stretch inside = reading_only(columns, sure, part);
        const int64_t certain = inside.end - inside.begin;
        for (int64_t t = 0; t < used; ++t) sources[t] = ring.row(reads[t], part);
        mask_scan::RowCounts counts{certain, certain, certain};
        std::fill(bits + inside.begin / 64, bits + (inside.begin + certain) / 64, ~uint64_t{0});
        for (const Stretch s : {Stretch{part.begin, inside.begin}, Stretch{inside.end, part.end}}) {
            if (s.begin >= s.end) continue;
            const auto more =
                table.threshold(sources, weights, used, s.begin, s.end, threshold, offset, bits);
            counts = {counts.area + more.area, counts.above + more.above,
                      counts.below + more.below};
        }
        result.area += counts.area;
        result.above += counts.above;
        result.below += counts.below;
        if (counts.area == 0) continue;
        if (y_low < 0) y_low = y;
        y_high = y;
        const Stretch bounds = bounds_of(bits, part);
        x_low = std::min(x_low, bounds.begin);
        x_end = std::max(x_end, bounds.end);
        if (runs != nullptr) {
            for_each_run(bits, bounds.begin, bounds.end, [&](int64_t b, int64_t e) {
                append(*runs, y * width + b, y * width + e);
            });
        }
    }
    result.stability = result.below == 0
                           ? 0.0F
                           : static_cast<float>(result.above) / static_cast<float>(result.below);
    if (result.area > 0) {
        result.x0 = x_low;
        result.y0 = y_low;
        result.x1 = x_end - 1;
        result.y1 = y_high;
    }
}

}  // namespace segrid
