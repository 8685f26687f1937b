// LibTorch's dynamic quantisation (quantized::linear_dynamic: one scale for all rows of a call, one
// per output of the weight), the baseline that our own int8 is compared with.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "core/rows.h"

struct LinearPackedParamsBase;

namespace segrid {

class TorchInt8 {
public:
    explicit TorchInt8(const at::Tensor& weight);  // [n, k] fp32
    // out (+)= a W, without bias.
    void product(int64_t rows, Rows<const float> a, Rows<float> out, bool accumulate) const;

private:
    int64_t k_, n_;
    std::shared_ptr<LinearPackedParamsBase> packed_;
};

}  // namespace segrid
