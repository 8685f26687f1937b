// The filling of small regions in ATen, for many masks on the device of their logits.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "masks/regions.h"

namespace segrid {
namespace {

constexpr int64_t kOutside = std::numeric_limits<int64_t>::max();

// The least of 3 x 3 neighbours. x: [masks, h, w]
at::Tensor least_neighbour(const at::Tensor& x) {
    const auto of_three = [](const at::Tensor& padded, int64_t dim) {
        const int64_t size = padded.size(dim) - 2;
        return at::minimum(at::minimum(padded.narrow(dim, 0, size), padded.narrow(dim, 1, size)),
                           padded.narrow(dim, 2, size));
    };
    return of_three(of_three(at::constant_pad_nd(x, {1, 1, 1, 1}, kOutside), 1), 2);
}

// Numbers the 8-connected components of `inside`, [masks, h, w]: every pixel gets the least index,
// row-major, of its component's pixels. Pixels outside get kOutside.
//
// A pixel takes the least label around it until none changes. A label is the index of a pixel of
// the same component, whose own label is at most as large; reading that one instead makes labels
// travel twice as far with every step.
at::Tensor label_components(const at::Tensor& inside) {
    const int64_t masks = inside.size(0), pixels = inside.size(1) * inside.size(2);
    const at::Tensor index = at::arange(pixels, inside.options().dtype(at::kLong))
                                 .view({1, inside.size(1), inside.size(2)});
    at::Tensor label = at::where(inside, index, kOutside);
    for (bool changes = true; changes;) {
        const at::Tensor before = label;
        for (int step = 0; step < 4; ++step) {
            label = at::where(inside, least_neighbour(label), kOutside);
            const at::Tensor flat = label.view({masks, pixels});
            label = at::where(inside, flat.gather(1, flat.clamp_max(pixels - 1)).view_as(label),
                              kOutside);
        }
        changes = !at::equal(label, before);
    }
    return label;
}

// The pixels of `inside` whose component has at most `most` pixels.
at::Tensor in_small_components(const at::Tensor& inside, int64_t most) {
    const int64_t masks = inside.size(0), pixels = inside.size(1) * inside.size(2);
    const at::Tensor label = label_components(inside).view({masks, pixels}).clamp_max(pixels - 1),
                     counted = inside.view({masks, pixels}).to(at::kLong);
    const at::Tensor area = at::zeros_like(counted).scatter_add_(1, label, counted);
    return inside.logical_and(area.gather(1, label).view_as(inside) <= most);
}

}  // namespace

at::Tensor fill_small_regions(const at::Tensor& logits, const RegionFilling& filling,
                              int64_t bytes) {
    if (logits.size(0) == 0) return logits;
    // Eight tensors of 64-bit numbers live at once.
    const int64_t each = logits.size(1) * logits.size(2) * 64,
                  at_once = std::clamp<int64_t>(bytes / each, 1, logits.size(0));
    at::Tensor out = logits.clone();
    for (int64_t first = 0; first < out.size(0); first += at_once) {
        at::Tensor part = out.narrow(0, first, std::min(at_once, out.size(0) - first));
        const auto above = [&] { return part > filling.threshold; };
        if (filling.max_hole_area > 0) {
            part.masked_fill_(in_small_components(above().logical_not(), filling.max_hole_area),
                              filling.threshold + filling.margin);
        }
        if (filling.max_sprinkle_area > 0) {
            part.masked_fill_(in_small_components(above(), filling.max_sprinkle_area),
                              filling.threshold - filling.margin);
        }
    }
    return out;
}

}  // namespace segrid
