// A product over all image tokens, which all prompts of an image share.
#pragma once

#include "core/thread_pool.h"
#include "kernels/gemm/op.h"

namespace segrid::mask_decoder {

// x[rows, in] W + bias -> [rows, out], split over the pool. bias may be null.
at::Tensor project(const PackedMatrix& weight, const float* bias, const at::Tensor& x,
                   const Schedule& schedule);

}  // namespace segrid::mask_decoder
