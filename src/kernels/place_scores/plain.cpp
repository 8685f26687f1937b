// The definition.
#include "kernels/place_scores/implementations.h"

namespace segrid::places {

void plain(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
           Rows<float> scores, std::span<const ReadNext>) {
    const int64_t width = of.width, lanes = of.group, step = of.frames * lanes;
    for (int64_t q = 0; q < queries.count; ++q) {
        const float* down = queries.down + q * (width + 1);
        for (int64_t key = 0; key < of.keys(); ++key) {
            const int64_t group = key / step, place = of.place(key) % lanes;
            const float* across =
                queries.across + (group * queries.count + q) * (width + 1) * lanes + place;
            const float* u = packed + group * step * width + key % step;
            float sum = across[width * lanes] + down[width];
            for (int64_t c = 0; c < width; ++c) sum += (across[c * lanes] + down[c]) * u[c * step];
            scores[q][key] = sum;
        }
    }
}

}  // namespace segrid::places
