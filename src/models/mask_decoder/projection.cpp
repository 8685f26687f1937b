#include "models/mask_decoder/projection.h"

#include <ATen/Functions.h>

#include "nn/transformer.h"

namespace segrid::mask_decoder {

at::Tensor project(const PackedMatrix& weight, const float* bias, const at::Tensor& x,
                   const Schedule& schedule) {
    const int64_t rows = x.size(0), in = weight.k(), out = weight.n();
    at::Tensor result = at::empty({rows, out});
    const float* from = x.const_data_ptr<float>();
    float* to = result.mutable_data_ptr<float>();
    over_rows(rows, schedule, [&](int64_t first, int64_t count, Arena&) {
        linear(count, {from + first * in, in}, weight, {to + first * out, out}, {.bias = bias});
    });
    return result;
}

}  // namespace segrid::mask_decoder
