// The implementations that rows/op.cpp chooses from: one table per instruction set.
#pragma once

#include <cstdint>

namespace segrid::rows {

struct Table {
    void (*add)(int64_t, const float*, const float*, float*);
    void (*multiply_add)(int64_t, const float*, const float*, float*);
    void (*relu)(int64_t, float*);
    void (*gelu)(int64_t, float*);
    void (*layer_norm)(int64_t, const float*, const float*, const float*, float, float*);
    void (*residual_norm)(int64_t, const float*, const float*, const float*, const float*, const float*, float, float*);
    void (*softmax_groups)(int64_t, int64_t, const float*, float*);
    bool (*running_softmax_columns)(int64_t, int64_t, const float*, int64_t, float*, float*, float*, float*, int64_t);
    float (*running_softmax_row)(int64_t, float*, float&, float&);
    void (*scale_row)(int64_t, float, float*);
    void (*scale_add_row)(int64_t, float, float, const float*, float*);
    void (*blend_row)(int64_t, float, float*, float, const float*);
    void (*transpose)(int64_t, int64_t, const float*, int64_t, float*, int64_t);
    void (*to_bf16)(int64_t, const float*, uint16_t*);
    void (*pair_bf16)(int64_t, const float*, const float*, uint16_t*);
};

const Table& plain();
const Table& avx2();
const Table& avx512();  // only call on a CPU that has it

// What the bf16 instructions of AVX-512 do, in their own file; only call on a CPU that has them.
void to_bf16_avx512bf16(int64_t n, const float* x, uint16_t* out);
void pair_bf16_avx512bf16(int64_t n, const float* a, const float* b, uint16_t* out);

}  // namespace segrid::rows
