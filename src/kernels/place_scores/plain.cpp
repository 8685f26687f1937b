// The definition.
#include "kernels/place_scores/implementations.h"

namespace segrid::places {

void plain(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
           Rows<float> scores) {
    constexpr int64_t kGroup = PlaceKeys::kGroup;
    const int64_t width = of.width, step = of.frames * kGroup;
    for (int64_t q = 0; q < queries.count; ++q) {
        const float* down = queries.down + q * (width + 1);
        for (int64_t key = 0; key < of.keys(); ++key) {
            const int64_t group = key / step, place = key % kGroup;
            const float* across =
                queries.across + (q * of.places / kGroup + group) * (width + 1) * kGroup + place;
            const float* u = packed + group * step * width + key % step;
            float sum = across[width * kGroup] + down[width];
            for (int64_t c = 0; c < width; ++c) sum += (across[c * kGroup] + down[c]) * u[c * step];
            scores[q][key] = sum;
        }
    }
}

}  // namespace segrid::places
