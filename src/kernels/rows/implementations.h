// The implementations that rows/op.cpp chooses from: one table per instruction set.
#pragma once

#include <cstdint>

namespace segrid::rows {

struct Table {
    void (*add)(int64_t, const float*, const float*, float*);
    void (*relu)(int64_t, float*);
    void (*gelu)(int64_t, float*);
    void (*layer_norm)(int64_t, const float*, const float*, const float*, float, float*);
    void (*softmax_strided)(int64_t, int64_t, float*);
    bool (*running_softmax_columns)(int64_t, int64_t, const float*, int64_t, float*, float*, float*, float*, int64_t);
    float (*running_softmax_row)(int64_t, float*, float&, float&);
    void (*scale_row)(int64_t, float, float*);
    void (*scale_add_row)(int64_t, float, float, const float*, float*);
};

const Table& plain();
const Table& avx512();  // only call on a CPU that has it

}  // namespace segrid::rows
