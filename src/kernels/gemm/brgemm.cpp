#include <ATen/native/CPUBlas.h>

#include <algorithm>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/op.h"

namespace segrid::gemm {
namespace {

using at::native::cpublas::brgemm;

// Calls product(m0, mc, n0, nc, k0, kc) for tiles small enough that their part of B stays in the
// first-level cache. The shapes repeat, so the generated code is cached.
template <class Product>
void tiles(int64_t m, int64_t n, int64_t k, const Product& product) {
    constexpr int64_t kRows = 64, kColumns = 64, kDepth = 1024;
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
        for (int64_t n0 = 0; n0 < n; n0 += kColumns) {
            for (int64_t m0 = 0; m0 < m; m0 += kRows) {
                product(m0, std::min(kRows, m - m0), n0, std::min(kColumns, n - n0), k0,
                        std::min(kDepth, k - k0));
            }
        }
    }
}

void fp32(int64_t m, int64_t n, int64_t k, Rows<const float> a, Rows<const float> b, Rows<float> c,
          bool accumulate, ReadNext) {
    tiles(m, n, k, [&](int64_t m0, int64_t mc, int64_t n0, int64_t nc, int64_t k0, int64_t kc) {
        brgemm(mc, nc, kc, a.stride, b.stride, c.stride, accumulate || k0 > 0, a[m0] + k0,
               b[k0] + n0, c[m0] + n0);
    });
}

void bf16(int64_t m, int64_t n, int64_t k, Rows<const uint16_t> a, Rows<const uint16_t> b,
          Rows<float> c, bool accumulate) {
    const auto* left = reinterpret_cast<const c10::BFloat16*>(a.data);
    const auto* right = reinterpret_cast<const c10::BFloat16*>(b.data);
    tiles(m, n, k, [&](int64_t m0, int64_t mc, int64_t n0, int64_t nc, int64_t k0, int64_t kc) {
        brgemm(mc, nc, kc, a.stride, b.stride, c.stride, accumulate || k0 > 0,
               left + m0 * a.stride + k0, right + k0 * b.stride + 2 * n0, c[m0] + n0,
               /*is_vnni=*/true);
    });
}

void int8(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, Int8Panel b, Rows<float> c,
          bool accumulate, const Dequantisation& by) {
    const auto* right = reinterpret_cast<const signed char*>(b.data);
    dequantised(m, n, c, accumulate, by, [&](int32_t* sums) {
        tiles(m, n, k, [&](int64_t m0, int64_t mc, int64_t n0, int64_t nc, int64_t k0, int64_t kc) {
            brgemm(mc, nc, kc, a.stride, kPanel, 64, k0 > 0, a[m0] + k0,
                   right + k0 * kPanel + 4 * n0, sums + m0 * 64 + n0, /*is_vnni=*/true);
        });
    });
}

}  // namespace

const Fp32Implementation& fp32_brgemm() {
    static const Fp32Implementation table{fp32};
    return table;
}

const Bf16Implementation& bf16_brgemm() {
    // With AMX, this releases the configuration of the tile registers.
    static const Bf16Implementation table{bf16, [] { at::native::cpublas::brgemm_release(true); }};
    return table;
}

const Int8Implementation& int8_brgemm() {
    static const Int8Implementation table{int8, [] { at::native::cpublas::brgemm_release(true); }};
    return table;
}

}  // namespace segrid::gemm
