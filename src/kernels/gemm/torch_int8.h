// LibTorch's dynamic quantisation (quantized::linear_dynamic): one scale for all rows of a call,
// and one per output of the weight. It is the baseline for our own int8.
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
    // out (+)= a W, without a bias.
    void product(int64_t rows, Rows<const float> a, Rows<float> out, bool accumulate) const;

private:
    int64_t k_, n_;
    std::shared_ptr<LinearPackedParamsBase> packed_;
};

}  // namespace segrid
