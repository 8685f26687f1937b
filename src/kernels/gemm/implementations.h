// The implementations that gemm/op.cpp chooses from. All compute C = A B (+ C) with A row-major,
// and B and C as in op.h.
#pragma once

#include <cstdint>

#include "core/rows.h"
#include "kernels/gemm/panel.h"
#include "kernels/rows/op.h"

namespace segrid::gemm {

// The factors that turn an int8 product into fp32, applied to each row by dequantise_row.
struct Dequantisation {
    const RowScale* rows;
    const int32_t* offsets;  // one per column
    const float* scales;
    const float* bias;  // may be null
};

struct Fp32Implementation {
    void (*product)(int64_t m, int64_t n, int64_t k, Rows<const float> a, Rows<const float> b,
                    Rows<float> c, bool accumulate, ReadNext next);
    // A B with this stride and so many columns is read in place, any other is copied first. 0:
    // every B is read in place.
    int64_t strip = 0;
    // Products with fewer columns than these take as long.
    int64_t narrowest = 16;
};

struct Bf16Implementation {
    // A in bf16 with an even stride; k even; B in pairs of rows, as Factor::bf16, its stride the
    // factor's `ld`
    void (*product)(int64_t m, int64_t n, int64_t k, Rows<const uint16_t> a, Rows<const uint16_t> b,
                    Rows<float> c, bool accumulate);
    // Called after the last of several products; may be null.
    void (*leave)() = nullptr;
    // The product with one panel whose sums begin with start; null if the implementation has none.
    void (*panel_from)(int64_t m, int64_t k, Rows<const uint16_t> a, const uint16_t* b,
                       Rows<float> c, const Start& start) = nullptr;
};

struct Int8Implementation {
    // A in u8, its stride and k multiples of 4; at most 64 rows and kPanel columns
    void (*product)(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, Int8Panel b,
                    Rows<float> c, bool accumulate, const Dequantisation& by);
    // Called after the last of several products; may be null.
    void (*leave)() = nullptr;
};

// brgemm is LibTorch's: AVX-512, its bf16 instructions, and AMX where the CPU has it. It reaches
// over 90 % of a core's peak; MKL reaches a third of it on AMD.
const Fp32Implementation& fp32_plain();
const Fp32Implementation& fp32_avx2();
const Fp32Implementation& fp32_brgemm();

const Bf16Implementation& bf16_plain();
const Bf16Implementation& bf16_avx2();
// Only call on a CPU that has AVX512-BF16 (brgemm: or AMX). Without AMX, brgemm's is the slower
// one, most of all for small k.
const Bf16Implementation& bf16_avx512bf16();
const Bf16Implementation& bf16_brgemm();

const Int8Implementation& int8_plain();
const Int8Implementation& int8_avx2();
// Only call on a CPU that has AVX-VNNI.
const Int8Implementation& int8_avxvnni();
// Only call on a CPU that has AVX512-VNNI (brgemm: or AMX). Without AMX, brgemm's is a quarter
// slower, and stores its integer sums in memory.
const Int8Implementation& int8_avx512vnni();
const Int8Implementation& int8_brgemm();

// Computes a product through exact integer sums in memory. sums(out) fills int32_t out[64][64].
template <class Sums>
void dequantised(int64_t m, int64_t n, Rows<float> c, bool accumulate, const Dequantisation& by,
                 const Sums& sums) {
    alignas(64) int32_t whole[64 * 64];
    sums(whole);
    for (int64_t i = 0; i < m; ++i)
        dequantise_row(n, whole + 64 * i, by.offsets, by.rows[i], by.scales, by.bias, c[i],
                       accumulate);
}

}  // namespace segrid::gemm
