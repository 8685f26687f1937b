// What encoders read, and how tests look inside them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>

#include "core/execution.h"
#include "core/geometry.h"

namespace segrid {

// Intermediate results by name, for parity tests. Called once at a time.
using Tap = std::function<void(const std::string& name, const at::Tensor& value)>;

// The resized image: packed RGB rows, at most side x side. 8-bit or floats in 0..255 (as the
// model's preprocess() says), the other is null.
struct ModelInput {
    Size size;
    const uint8_t* bytes = nullptr;
    const float* floats = nullptr;
    // The normalised value i, of channel i % 3, as the networks read it.
    float normalised(const PreprocessSpec& spec, int64_t i) const {
        return ((bytes != nullptr ? static_cast<float>(bytes[i]) : floats[i]) - spec.mean[i % 3]) /
               spec.std[i % 3];
    }
};

// Row y of the grid x grid patches of an input whose side is grid * patch or a little more:
// normalised, zeros behind the input's edges. out: [grid][channel][row][column].
void gather_patches(const ModelInput& input, const PreprocessSpec& spec, int64_t patch,
                    int64_t grid, int64_t y, float* out);

namespace plain {

// The whole input in the model's square, normalised, zeros beyond it: [1, 3, side, side] where the
// placement says.
at::Tensor pixels(const ModelInput& input, const PreprocessSpec& spec, const Placement& placement);
// Shows x to the tap, if there is one, as [tokens, channels] in fp32 on the CPU.
void tell(const Tap* tap, const std::string& name, const at::Tensor& x);

}  // namespace plain
}  // namespace segrid
