#include "kernels/two_way/op.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cpu.h"
#include "kernels/two_way/implementations.h"

namespace segrid {
namespace {

const KernelSwitch& choice() {
    static const KernelSwitch kernel("two_way", {"tiled", "plain"});
    return kernel;
}

[[maybe_unused]] const bool registered = (choice(), true);

}  // namespace

void TokenPartial::reset(int64_t columns, int64_t width) {
    std::fill_n(max, columns, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, columns, 0.0F);
    std::fill_n(acc, columns * width, 0.0F);
}

void merge(int64_t columns, int64_t width, TokenPartial& into, const TokenPartial& other) {
    for (int64_t c = 0; c < columns; ++c) {
        const float top = std::max(into.max[c], other.max[c]);
        const float a = std::exp(into.max[c] - top), b = std::exp(other.max[c] - top);
        into.max[c] = top;
        into.sum[c] = into.sum[c] * a + other.sum[c] * b;
        float* x = into.acc + c * width;
        const float* y = other.acc + c * width;
        for (int64_t i = 0; i < width; ++i) x[i] = x[i] * a + y[i] * b;
    }
}

void two_way_sweep(const TwoWaySweep& sweep, int64_t begin, int64_t end, TokenPartial& partial, Arena& arena) {
    if (choice().plain()) {
        two_way::plain(sweep, begin, end, partial);
    } else {
        two_way::tiled(sweep, begin, end, partial, arena);
    }
}

}  // namespace segrid
