#include "models/convolution_stem.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "core/fresh_tensor.h"
#include "nn/folded_convolution.h"

namespace segrid {
namespace {

StridedConvolution strided(const WeightScope& s, int64_t in, int64_t out) {
    const FoldedConvolution folded(s, in, out, 3);
    return {folded.weight, folded.bias, s.precision()};
}

}  // namespace

ConvolutionStem::ConvolutionStem(const WeightScope& first, const WeightScope& second, int64_t side,
                                 int64_t out)
    : side_(side),
      out_(out),
      first_(strided(first, 3, out / 2)),
      second_(strided(second, out / 2, out)) {}

at::Tensor ConvolutionStem::operator()(const ModelInput& input, const PreprocessSpec& spec,
                                       const Schedule& schedule) const {
    const int64_t half = side_ / 2, narrow = out_ / 2;
    at::Tensor inner = fresh_tensor({half * half, narrow}),
               result = fresh_tensor({half * half / 4, out_});
    float* inner_data = inner.mutable_data_ptr<float>();
    float* out = result.mutable_data_ptr<float>();
    parallel_for(half, schedule, [&](int64_t y, Worker& worker) {
        float* pixels = worker.arena.take<float>(3 * side_ * 3);  // normalised
        std::fill_n(pixels, 3 * side_ * 3, 0.0F);
        const float* rows[3];
        for (int64_t k = 0; k < 3; ++k) {
            const int64_t row = 2 * y - 1 + k, count = input.size.width * 3;
            rows[k] = row >= 0 && row < input.size.height ? pixels + k * side_ * 3 : nullptr;
            for (int64_t i = 0; rows[k] != nullptr && i < count; ++i)
                pixels[k * side_ * 3 + i] = input.normalised(spec, row * count + i);
        }
        float* to = inner_data + y * half * narrow;
        first_(rows, side_, to, worker.arena);
        gelu(half * narrow, to);
    });
    parallel_for(half / 2, schedule, [&](int64_t y, Worker& worker) {
        second_(rows_around(inner_data, half, half * narrow, 2 * y, 3).data(), half,
                out + y * half / 2 * out_, worker.arena);
    });
    return result;
}

}  // namespace segrid
