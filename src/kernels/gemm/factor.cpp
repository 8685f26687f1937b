// Prepares right-hand sides in the layout that the products read.
#include <ATen/Functions.h>

#include <algorithm>

#include "kernels/gemm/op.h"
#include "kernels/rows/op.h"

namespace segrid {

Factor make_factor(Precision precision, int64_t k, int64_t n, const float* b, int64_t ldb,
                   Arena& arena) {
    if (precision == Precision::Fp32) return {b, nullptr, ldb};
    uint16_t* pairs = arena.take<uint16_t>(even(k) * n);
    for (int64_t i = 0; i < k; i += 2)
        pair_bf16(n, b + i * ldb, i + 1 < k ? b + (i + 1) * ldb : nullptr, pairs + i * n);
    return {nullptr, pairs, n};
}

Factor make_reused_factor(Precision precision, int64_t k, int64_t n, const float* b, int64_t ldb,
                          Arena& arena) {
    const int64_t width = strip_width();
    if (precision != Precision::Fp32 || width == 0)
        return make_factor(precision, k, n, b, ldb, arena);
    const int64_t strip = k * width;
    float* strips = arena.take<float>((n + width - 1) / width * strip);
    for (int64_t n0 = 0; n0 < n; n0 += width, strips += strip) {
        const int64_t columns = std::min(width, n - n0);
        for (int64_t i = 0; i < k; ++i) {
            float* row = strips + i * width;
            std::fill(std::copy_n(b + i * ldb + n0, columns, row), row + width, 0.0F);
        }
    }
    return {strips - (n + width - 1) / width * strip, nullptr, width, strip};
}

at::Tensor widened(const Factor& f, int64_t k, int64_t n) {
    if (f.strip > 0) {
        const int64_t strips = (n + f.ld - 1) / f.ld;
        return at::from_blob(const_cast<float*>(f.fp32), {k, strips, f.ld}, {f.ld, f.strip, 1},
                             at::kFloat)
            .reshape({k, strips * f.ld})
            .narrow(1, 0, n);
    }
    if (f.fp32 != nullptr)
        return at::from_blob(const_cast<float*>(f.fp32), {k, n}, {f.ld, 1}, at::kFloat);
    const int64_t pairs = even(k) / 2;
    return at::from_blob(const_cast<uint16_t*>(f.bf16), {pairs, n, 2}, {2 * f.ld, 2, 1},
                         at::kBFloat16)
        .to(at::kFloat)
        .transpose(1, 2)
        .reshape({2 * pairs, n})
        .narrow(0, 0, k);
}

}  // namespace segrid
