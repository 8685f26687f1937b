// The input of image encoders, and the hook through which tests read their intermediate results.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/execution.h"
#include "core/geometry.h"

namespace segrid {

class Upload;  // kernels/transfer/op.h

// Receives intermediate results by name, for parity tests. It is never called concurrently.
using Tap = std::function<void(const std::string& name, const at::Tensor& value)>;

// The resized image: packed RGB rows, at most side x side. Either 8-bit or floats in 0..255, as the
// model's preprocess() says; the other pointer is null. Pixels are not owned.
struct ModelInput {
    Size size;
    const uint8_t* bytes = nullptr;
    const float* floats = nullptr;
    const Upload* upload = nullptr;  // the same pixels on their way to a device; may be null
    // Value i of the packed rows, normalised for its channel i % 3.
    float normalised(const PreprocessSpec& spec, int64_t i) const {
        return ((bytes != nullptr ? static_cast<float>(bytes[i]) : floats[i]) - spec.mean[i % 3]) /
               spec.std[i % 3];
    }
};

// Writes row y of a grid x grid array of patches of patch x patch pixels to out:
// [grid][channel][row][column]. Values are normalised, and zero beyond the input's edges. Pixels
// beyond the last patch are left out.
void gather_patches(const ModelInput& input, const PreprocessSpec& spec, int64_t patch,
                    int64_t grid, int64_t y, float* out);

namespace plain {

// The whole inputs, normalised and padded with zeros to the model's square: [inputs, 3, side,
// side], on the placement's device and in its type.
at::Tensor pixels(const std::vector<ModelInput>& inputs, const PreprocessSpec& spec,
                  const Placement& placement);
// Gives x to the tap, if there is one, as [tokens, channels] in fp32 on the CPU.
void tell(const Tap* tap, const std::string& name, const at::Tensor& x);

}  // namespace plain
}  // namespace segrid
