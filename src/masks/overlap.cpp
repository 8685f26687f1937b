#include "masks/overlap.h"

#include <cstdint>

namespace segrid {
namespace {

// The upsampled logit of one pixel.
float logit_at(const float* logits, const ScanPlan& plan, int64_t y, int64_t x) {
    const ScanAxis &rows = plan.rows(), &columns = plan.columns();
    const int64_t y0 = rows.first[static_cast<std::size_t>(y)],
                  x0 = columns.first[static_cast<std::size_t>(x)];
    float sum = 0;
    for (int64_t i = 0; i < rows.taps && y0 + i < rows.inputs; ++i) {
        float row = 0;
        for (int64_t j = 0; j < columns.taps && x0 + j < columns.inputs; ++j) {
            row += columns.weights[static_cast<std::size_t>(j * columns.outputs + x)] *
                   logits[(y0 + i) * columns.inputs + x0 + j];
        }
        sum += rows.weights[static_cast<std::size_t>(i * rows.outputs + y)] * row;
    }
    return sum;
}

}  // namespace

void make_disjoint(const std::vector<OverlapLayer>& layers, const ScanPlan& plan) {
    if (layers.size() < 2) return;
    const int64_t width = plan.size().width;
    std::vector<uint16_t> owner(static_cast<std::size_t>(plan.size().area()));  // 0: nobody
    for (std::size_t i = 0; i < layers.size(); ++i) {
        for (const Run& run : *layers[i].runs) {
            for (int64_t p = run.begin; p < run.end; ++p) {
                uint16_t& own = owner[static_cast<std::size_t>(p)];
                if (own == 0 || logit_at(layers[i].logits, plan, p / width, p % width) >
                                    logit_at(layers[own - 1U].logits, plan, p / width, p % width)) {
                    own = static_cast<uint16_t>(i + 1);
                }
            }
        }
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
        Runs kept;
        for (const Run& run : *layers[i].runs) {
            for (int64_t p = run.begin; p < run.end;) {
                const int64_t begin = p;
                const bool own = owner[static_cast<std::size_t>(p)] == i + 1;
                while (p < run.end && (owner[static_cast<std::size_t>(p)] == i + 1) == own) ++p;
                if (own) append(kept, begin, p);
            }
        }
        *layers[i].runs = std::move(kept);
    }
}

}  // namespace segrid
