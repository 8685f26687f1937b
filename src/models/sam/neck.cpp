#include <ATen/Functions.h>

#include <algorithm>

#include "core/trace.h"

#include "core/fresh_tensor.h"
#include "models/sam/vision_encoder.h"

namespace segrid::sam {

Neck::Neck(const WeightScope& scope, const VisionConfig& c)
    : grid_(c.grid()),
      hidden_(c.hidden),
      output_(c.output),
      conv1_(
          (scope / "conv1").tensor("weight", {c.output, c.hidden, 1, 1}).view({c.output, c.hidden}),
          at::Tensor(), scope.precision()),
      norm1_(scope / "layer_norm1", c.output, 1e-6F),
      norm2_(scope / "layer_norm2", c.output, 1e-6F) {
    const at::Tensor kernel = (scope / "conv2").tensor("weight", {c.output, c.output, 3, 3});
    for (int64_t tap = 0; tap < 9; ++tap) {
        conv2_.emplace_back(kernel.select(3, tap % 3).select(2, tap / 3).contiguous(), at::Tensor(),
                            scope.precision());
    }
}

at::Tensor Neck::operator()(const at::Tensor& tokens, const Schedule& schedule) const {
    // A border of zeros around the grid turns the 3x3 convolution into nine products per image row.
    const int64_t padded = grid_ + 2;
    at::Tensor inner = fresh_tensor({padded * padded, output_}),
               out = fresh_tensor({grid_ * grid_, output_});
    float* inner_data = inner.mutable_data_ptr<float>();
    float* out_data = out.mutable_data_ptr<float>();
    const float* x = tokens.const_data_ptr<float>();
    run_in_worker(schedule, [&] { std::fill_n(inner_data, inner.numel(), 0.0F); });
    parallel_for(grid_, schedule, [&](int64_t y, Worker&) {
        const Span span("neck", y);
        float* row = inner_data + ((y + 1) * padded + 1) * output_;
        conv1_(grid_, x + y * grid_ * hidden_, hidden_, row, output_);
        norm1_(grid_, row, row);
    });
    parallel_for(grid_, schedule, [&](int64_t y, Worker&) {
        const Span span("neck", y);
        float* row = out_data + y * grid_ * output_;
        for (int64_t tap = 0; tap < 9; ++tap) {
            linear_part(grid_, {inner_data + ((y + tap / 3) * padded + tap % 3) * output_, output_},
                        conv2_[static_cast<std::size_t>(tap)].weight(), 0, output_, {row, output_},
                        /*accumulate=*/tap > 0);
        }
        norm2_(grid_, row, row);
    });
    return out;
}

}  // namespace segrid::sam
