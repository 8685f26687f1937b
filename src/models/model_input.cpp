#include "models/model_input.h"

#include <algorithm>

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

}  // namespace segrid
