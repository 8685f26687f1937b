#include "kernels/two_way/op.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cpu.h"
#include "kernels/rows/op.h"
#include "kernels/two_way/implementations.h"

namespace segrid {
namespace {

const KernelSwitch& choice() {
    static const KernelSwitch kernel("two_way", {"tiled", "plain"});
    return kernel;
}

[[maybe_unused]] const bool registered = (choice(), true);

}  // namespace

TokenPartial::TokenPartial(const TokenRead& read, Arena& arena)
    : max(arena.take<float>(read.shape.columns())),
      sum(arena.take<float>(read.shape.columns())),
      acc(arena.take<float>(read.shape.columns() * read.width())) {
    std::fill_n(max, read.shape.columns(), -std::numeric_limits<float>::infinity());
    std::fill_n(sum, read.shape.columns(), 0.0F);
    std::fill_n(acc, read.shape.columns() * read.width(), 0.0F);
}

void merge(const TokenRead& read, TokenPartial& into, const TokenPartial& other) {
    const int64_t width = read.width();
    for (int64_t c = 0; c < read.shape.columns(); ++c) {
        const float top = std::max(into.max[c], other.max[c]);
        const float a = std::exp(into.max[c] - top), b = std::exp(other.max[c] - top);
        into.max[c] = top;
        into.sum[c] = into.sum[c] * a + other.sum[c] * b;
        blend_row(width, a, into.acc + c * width, b, other.acc + c * width);
    }
}

void two_way_sweep(const TwoWaySweep& sweep, int64_t begin, int64_t end, TokenPartial& partial,
                   Arena& arena) {
    (choice().plain() ? two_way::plain : two_way::tiled)(sweep, begin, end, partial, arena);
}

}  // namespace segrid
