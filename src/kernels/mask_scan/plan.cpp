#include <algorithm>
#include <cmath>

#include "kernels/mask_scan/op.h"

namespace segrid {
namespace {

struct Tap {
    int64_t index;
    double weight;
};
using Operator = std::vector<std::vector<Tap>>;  // the taps of each output

// torch's bilinear interpolation with align_corners=False from `inputs` to `outputs` samples.
Operator bilinear(int64_t inputs, int64_t outputs) {
    Operator op(static_cast<std::size_t>(outputs));
    const float scale = static_cast<float>(inputs) / static_cast<float>(outputs);
    for (int64_t i = 0; i < outputs; ++i) {
        const float place = std::max(0.0F, scale * (static_cast<float>(i) + 0.5F) - 0.5F);
        const int64_t low = std::min(static_cast<int64_t>(place), inputs - 1),
                      high = std::min(low + 1, inputs - 1);
        const float fraction = std::min(std::max(place - static_cast<float>(low), 0.0F), 1.0F);
        auto& taps = op[static_cast<std::size_t>(i)];
        if (high == low) {  // beyond the last sample
            taps.push_back({low, 1.0});
        } else {
            taps.push_back({low, 1.0 - static_cast<double>(fraction)});
            taps.push_back({high, static_cast<double>(fraction)});
        }
    }
    return op;
}

// Applies first, then second.
Operator compose(const Operator& first, const Operator& second) {
    Operator op;
    for (const auto& outer : second) {
        std::vector<Tap> taps;
        for (const Tap& o : outer) {
            for (const Tap& i : first[static_cast<std::size_t>(o.index)]) {
                const auto same = std::find_if(taps.begin(), taps.end(),
                                               [&](const Tap& t) { return t.index == i.index; });
                if (same != taps.end()) same->weight += o.weight * i.weight;
                else taps.push_back({i.index, o.weight * i.weight});
            }
        }
        op.push_back(std::move(taps));
    }
    return op;
}

ScanAxis pack(const Operator& op, int64_t inputs) {
    ScanAxis axis{.inputs = inputs,
                  .outputs = static_cast<int64_t>(op.size()),
                  .taps = 1,
                  .first = {},
                  .weights = {}};
    for (const auto& taps : op) {
        const auto [low, high] = std::minmax_element(
            taps.begin(), taps.end(), [](auto& a, auto& b) { return a.index < b.index; });
        axis.taps = std::max(axis.taps, high->index - low->index + 1);
    }
    axis.first.resize(op.size());
    axis.weights.assign(static_cast<std::size_t>(axis.taps) * op.size(), 0.0F);
    for (std::size_t i = 0; i < op.size(); ++i) {
        int64_t low = inputs;
        for (const Tap& t : op[i]) low = std::min(low, t.index);
        // All taps must lie inside.
        low = std::min(low, std::max<int64_t>(0, inputs - axis.taps));
        axis.first[i] = static_cast<int32_t>(low);
        for (const Tap& t : op[i])
            axis.weights[static_cast<std::size_t>(t.index - low) * op.size() + i] =
                static_cast<float>(t.weight);
    }
    return axis;
}

Operator two_steps(int64_t low, int64_t side, int64_t resized, int64_t crop) {
    Operator up = bilinear(low, side);
    up.resize(static_cast<std::size_t>(resized));
    return compose(up, bilinear(resized, crop));
}

}  // namespace

ScanPlan::ScanPlan(Size low_res, int64_t side, Size resized, Size crop)
    : rows_(pack(two_steps(low_res.height, side, resized.height, crop.height), low_res.height)),
      columns_(pack(two_steps(low_res.width, side, resized.width, crop.width), low_res.width)) {}

ScanPlan::ScanPlan(Size low_res, Size crop)
    : rows_(pack(bilinear(low_res.height, crop.height), low_res.height)),
      columns_(pack(bilinear(low_res.width, crop.width), low_res.width)) {}

}  // namespace segrid
