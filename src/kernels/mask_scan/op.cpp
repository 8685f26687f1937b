#include "kernels/mask_scan/op.h"

#include <algorithm>
#include <bit>

#include "core/cpu.h"
#include "kernels/mask_scan/implementations.h"

namespace segrid {
namespace {

const KernelSwitch& choice() {
    static const KernelSwitch kernel("mask_scan", cpu_features().avx512 ? std::vector<std::string>{"avx512", "plain"}
                                                                        : std::vector<std::string>{"plain"});
    return kernel;
}

[[maybe_unused]] const bool registered = (choice(), true);

// The inputs of one low-res row that can matter: [begin, end) holds every value above the lowest level; empty when there is none.
struct Live {
    int64_t begin = 0, end = 0;
};

Live live_part(const float* row, int64_t count, float lowest) {
    int64_t begin = 0, end = count;
    while (begin < end && !(row[begin] > lowest)) ++begin;
    while (end > begin && !(row[end - 1] > lowest)) --end;
    return {begin, end};
}

// Bits to runs of the row that begins at pixel `base`.
void append_bits(const uint64_t* bits, int64_t begin, int64_t end, int64_t base, Runs& runs) {
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
        append(runs, base + from, base + std::min(x, end));
    }
}

}  // namespace

void scan(const float* logits, const ScanPlan& plan, float threshold, float offset, ScanResult& result, Runs* runs, Arena& arena) {
    const mask_scan::Table& table = choice().plain() ? mask_scan::plain() : mask_scan::avx512();
    const Arena::Scope scope(arena);
    const ScanAxis& rows = plan.rows();
    const ScanAxis& columns = plan.columns();
    const int64_t width = columns.outputs, taps = rows.taps;
    result = {};
    if (runs != nullptr) runs->clear();

    // Which inputs can lift a pixel above the lowest level, and so which output columns of which rows.
    const float lowest = threshold - offset;
    Live* live = arena.take<Live>(rows.inputs);
    for (int64_t y = 0; y < rows.inputs; ++y) live[y] = live_part(logits + y * columns.inputs, columns.inputs, lowest);

    // A ring of expanded rows: low-res row y lies in slot y % taps.
    float* ring = arena.take<float>(taps * width);
    struct Slot { int64_t row, begin, end; };
    Slot* slots = arena.take<Slot>(taps);
    for (int64_t t = 0; t < taps; ++t) slots[t] = {-1, 0, 0};
    uint64_t* bits = arena.take<uint64_t>(width / 64 + 1);
    float* weights = arena.take<float>(taps);
    const float** sources = arena.take<const float*>(taps);
    int64_t x_low = width, x_high = -1, y_low = -1, y_high = -1;
    for (int64_t y = 0; y < rows.outputs; ++y) {
        const int64_t first = rows.first[static_cast<std::size_t>(y)];
        int64_t in_begin = columns.inputs, in_end = 0, used = 0;
        for (int64_t t = 0; t < taps; ++t) {
            const float w = rows.weights[static_cast<std::size_t>(t * rows.outputs + y)];
            if (w == 0.0F || first + t >= rows.inputs) continue;
            const Live& l = live[first + t];
            if (l.begin < l.end) {
                in_begin = std::min(in_begin, l.begin);
                in_end = std::max(in_end, l.end);
            }
        }
        if (in_begin >= in_end) continue;  // every corner of every cell is below: no pixel of this row can be above
        // Output columns that read an input of [in_begin, in_end).
        const auto reads_from = [&](int64_t input) {
            return std::lower_bound(columns.first.begin(), columns.first.end(), static_cast<int32_t>(input)) - columns.first.begin();
        };
        const int64_t begin = reads_from(in_begin - columns.taps + 1) / 64 * 64, end = reads_from(in_end);
        for (int64_t t = 0; t < taps; ++t) {
            const float w = rows.weights[static_cast<std::size_t>(t * rows.outputs + y)];
            if (w == 0.0F || first + t >= rows.inputs) continue;
            const int64_t row = first + t;
            Slot& slot = slots[row % taps];
            float* out = ring + row % taps * width;
            if (slot.row != row || slot.begin > begin || slot.end < end) {
                if (slot.row == row) {
                    slot.begin = std::min(slot.begin, begin);
                    slot.end = std::max(slot.end, end);
                } else {
                    slot = {row, begin, end};
                }
                table.expand(columns, logits + row * columns.inputs, slot.begin, slot.end, out);
            }
            weights[used] = w;
            sources[used] = out;
            ++used;
        }
        const mask_scan::RowCounts counts = table.threshold(sources, weights, used, begin, end, threshold, offset, bits);
        result.area += counts.area;
        result.above += counts.above;
        result.below += counts.below;
        if (counts.area == 0) continue;
        if (y_low < 0) y_low = y;
        y_high = y;
        // The first and the last bit of the row.
        int64_t word = begin / 64;
        const auto masked = [&](int64_t w) {
            return end - w * 64 >= 64 ? bits[w] : bits[w] & ((uint64_t{1} << (end - w * 64)) - 1);
        };
        while (masked(word) == 0) ++word;
        x_low = std::min(x_low, word * 64 + std::countr_zero(masked(word)));
        word = (end - 1) / 64;
        while (masked(word) == 0) --word;
        x_high = std::max(x_high, word * 64 + 63 - std::countl_zero(masked(word)));
        if (runs != nullptr) append_bits(bits, begin, end, y * width, *runs);
    }
    result.stability = result.below == 0 ? 0.0F : static_cast<float>(result.above) / static_cast<float>(result.below);
    if (result.area > 0) {
        result.x0 = x_low;
        result.y0 = y_low;
        result.x1 = x_high;
        result.y1 = y_high;
    }
}

}  // namespace segrid
