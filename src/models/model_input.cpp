#include "models/model_input.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/transfer/op.h"
#include "nn/plain.h"

namespace segrid {

void gather_patches(const ModelInput& input, const PreprocessSpec& spec, int64_t patch,
                    int64_t grid, int64_t y, float* out) {
    const int64_t inputs = 3 * patch * patch;
    std::fill_n(out, grid * inputs, 0.0F);
    for (int64_t row = 0; row < std::min(patch, input.size.height - y * patch); ++row) {
        int64_t number = (y * patch + row) * input.size.width * 3;
        for (int64_t x = 0; x < std::min(input.size.width, grid * patch); ++x) {
            float* to = out + x / patch * inputs + row * patch + x % patch;
            for (int64_t channel = 0; channel < 3; ++channel)
                to[channel * patch * patch] = input.normalised(spec, number++);
        }
    }
}

namespace plain {
namespace {

at::Tensor square(const ModelInput& input, const PreprocessSpec& spec, const Placement& placement) {
    const auto [height, width] = input.size;
    const at::Tensor given =
        input.bytes != nullptr
            ? at::from_blob(const_cast<uint8_t*>(input.bytes), {height, width, 3}, at::kByte)
            : at::from_blob(const_cast<float*>(input.floats), {height, width, 3}, at::kFloat);
    const at::Tensor image =
        (input.upload != nullptr ? input.upload->arrived() : given.to(placement.device))
            .to(at::kFloat);
    const at::Tensor mean = at::tensor(at::ArrayRef<float>(spec.mean, 3)).to(placement.device),
                     std = at::tensor(at::ArrayRef<float>(spec.std, 3)).to(placement.device);
    const at::Tensor normal = ((image - mean) / std).permute({2, 0, 1}).unsqueeze(0);
    return at::constant_pad_nd(normal, {0, spec.side - width, 0, spec.side - height}, 0)
        .to(placement.type);
}

}  // namespace

at::Tensor pixels(const std::vector<ModelInput>& inputs, const PreprocessSpec& spec,
                  const Placement& placement) {
    std::vector<at::Tensor> squares;
    for (const ModelInput& input : inputs) squares.push_back(square(input, spec, placement));
    return squares.size() == 1 ? squares.front() : at::cat(squares);
}

void tell(const Tap* tap, const std::string& name, const at::Tensor& x) {
    if (tap != nullptr) (*tap)(name, on_host(x).reshape({-1, x.size(-1)}).clone());
}

}  // namespace plain
}  // namespace segrid
