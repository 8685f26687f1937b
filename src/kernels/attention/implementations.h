#pragma once

#include "kernels/attention/op.h"

namespace segrid::attention {

void plain(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq,
           float* out, int64_t ldo, Arena& arena);
void tiled(const GridAttention& a, int64_t first, int64_t rows, const float* q, int64_t ldq,
           float* out, int64_t ldo, Arena& arena);

}  // namespace segrid::attention
