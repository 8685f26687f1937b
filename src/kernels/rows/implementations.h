// The implementations that rows/op.cpp chooses from: one table per instruction set.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/rows.h"
#include "kernels/rows/row_scale.h"

namespace segrid::rows {

// The scale of a row whose values lie in [low, high], which includes 0. Computed in float, because
// every implementation must get the same bits.
inline RowScale row_scale(float low, float high) {
    const float range = high - low;
    if (!(range > 0)) return {1.0F, 0};
    const float scale = range / 255.0F;
    return {scale, static_cast<int32_t>(std::nearbyint(-low / scale))};
}

struct Table {
    void (*add)(int64_t, const float*, const float*, float*);
    void (*multiply_add)(int64_t, const float*, const float*, float*);
    void (*multiply)(int64_t, const float*, float*);
    void (*scale_add)(int64_t, float, const float*, const float*, float*);
    void (*relu)(int64_t, float*);
    void (*gelu_rows)(int64_t, int64_t, float*, int64_t);
    void (*quick_gelu)(int64_t, float*);
    float (*layer_norm)(int64_t, const float*, const float*, const float*, float, float*);
    void (*residual_norm)(int64_t, const float*, const float*, const float*, const float*,
                          const float*, float, float*);
    void (*softmax_groups)(int64_t, int64_t, const float*, float*);
    bool (*running_softmax_columns)(int64_t, int64_t, Rows<const float>, float*, float*, float*,
                                    Rows<float>);
    float (*running_softmax_row)(int64_t, float*, float&, float&);
    float (*running_power_row)(int64_t, const float*, float&, float&, uint16_t*);
    void (*scale_row)(int64_t, float, float*);
    float (*dot)(int64_t, const float*, const float*);
    void (*offset_rows)(int64_t, int64_t, const float*, const float*, float*);
    void (*turn_row)(int64_t, const float*, const float*, float*);
    void (*turn_rows)(int64_t, int64_t, const float*, const float*, const float*, float*);
    void (*blend_row)(int64_t, float, float*, float, const float*);
    void (*transpose)(int64_t, int64_t, const float*, int64_t, float*, int64_t);
    void (*to_bf16)(int64_t, const float*, uint16_t*);
    void (*pair_bf16)(int64_t, const float*, const float*, uint16_t*);
    bool (*quantise_row)(int64_t, const float*, uint8_t*, RowScale&);
    void (*dequantise_row)(int64_t, const int32_t*, const int32_t*, RowScale, const float*,
                           const float*, float*, bool);
};

const Table& plain();
const Table& avx2();
const Table& avx512();  // only call on a CPU that has it

// Defined in gelu_avx2.cpp. Only call on a CPU that has AVX2.
void gelu_rows_avx2(int64_t rows, int64_t n, float* x, int64_t ld);
void quick_gelu_avx2(int64_t n, float* x);

// Defined in gelu_avx512.cpp. Only call on a CPU that has AVX-512.
void gelu_rows_avx512(int64_t rows, int64_t n, float* x, int64_t ld);
void quick_gelu_avx512(int64_t n, float* x);

// Defined in avx512bf16.cpp. Only call on a CPU that has the bf16 instructions of AVX-512.
void to_bf16_avx512bf16(int64_t n, const float* x, uint16_t* out);
void pair_bf16_avx512bf16(int64_t n, const float* a, const float* b, uint16_t* out);
float running_power_row_avx512bf16(int64_t n, const float* s, float& max, float& sum,
                                   uint16_t* out);

}  // namespace segrid::rows
