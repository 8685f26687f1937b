#include "prompts/crops.h"

#include <algorithm>
#include <cmath>

namespace segrid {

CropPlan generate_crop_boxes(Size image, int64_t layers, double overlap_ratio) {
    CropPlan plan;
    plan.boxes.push_back(
        {0, 0, static_cast<double>(image.width), static_cast<double>(image.height)});
    plan.layers.push_back(0);
    const double short_side = static_cast<double>(std::min(image.height, image.width));
    for (int64_t layer = 0; layer < layers; ++layer) {
        const int64_t side = int64_t{1} << (layer + 1);
        const auto overlap =
            static_cast<int64_t>(overlap_ratio * short_side * (2.0 / static_cast<double>(side)));
        const auto length = [&](int64_t full) {
            return static_cast<int64_t>(std::ceil(static_cast<double>(overlap * (side - 1) + full) /
                                                  static_cast<double>(side)));
        };
        const int64_t w = length(image.width), h = length(image.height);
        for (int64_t i = 0; i < side; ++i) {  // x is the outer loop, as in segment-anything
            for (int64_t j = 0; j < side; ++j) {
                const int64_t x0 = (w - overlap) * i, y0 = (h - overlap) * j;
                const int64_t x1 = std::min(x0 + w, image.width),
                              y1 = std::min(y0 + h, image.height);
                plan.boxes.push_back({static_cast<double>(x0), static_cast<double>(y0),
                                      static_cast<double>(x1), static_cast<double>(y1)});
                plan.layers.push_back(layer + 1);
            }
        }
    }
    return plan;
}

int64_t crop_layers_for(Size image, double working_scale, double overlap_ratio, int64_t most) {
    const auto longest = static_cast<double>(std::max(image.height, image.width)),
               shortest = static_cast<double>(std::min(image.height, image.width));
    int64_t layers = 0;
    double side = longest;
    while (layers < most && side > working_scale) {
        ++layers;
        const auto n = static_cast<double>(int64_t{1} << layers);
        side = std::ceil((overlap_ratio * shortest * (2.0 / n) * (n - 1) + longest) / n);
    }
    return layers;
}

}  // namespace segrid
