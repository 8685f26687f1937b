#include "masks/render.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "core/error.h"

namespace segrid {
namespace {

// Largest first, so that smaller masks are drawn over larger ones.
std::vector<std::size_t> drawing_order(const MaskSet& set) {
    std::vector<std::size_t> order(set.masks().size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return set.masks()[a].area > set.masks()[b].area; });
    return order;
}

struct Colour {
    double r, g, b;
};

// Hues separated by the golden ratio, in two brightnesses.
Colour colour_of(std::size_t index) {
    const double hue = std::fmod(0.11 + 0.61803398875 * static_cast<double>(index), 1.0) * 6.0;
    const double value = index % 2 ? 1.0 : 0.85, low = value * 0.15;
    const double f = std::fmod(hue, 1.0), up = low + (value - low) * f,
                 down = value - (value - low) * f;
    switch (static_cast<int>(hue)) {
        case 0: return {value, up, low};
        case 1: return {down, value, low};
        case 2: return {low, value, up};
        case 3: return {low, down, value};
        case 4: return {up, low, value};
        default: return {value, low, down};
    }
}

}  // namespace

std::shared_ptr<uint8_t> render_dense(const MaskSet& set) {
    const int64_t count = static_cast<int64_t>(set.masks().size()), plane = set.size().area();
    const auto bytes = static_cast<std::size_t>(std::max<int64_t>(1, count * plane));
    if (count * plane > kMaxDenseBytes) {
        fail(ErrorKind::OutOfMemory,
             "masks.array: " + std::to_string(count) + " masks of " +
                 std::to_string(set.size().height) + " x " + std::to_string(set.size().width) +
                 " pixels need " + human_bytes(bytes) + "; the limit is " +
                 human_bytes(static_cast<std::size_t>(kMaxDenseBytes)) +
                 " (kMaxDenseBytes). Use masks[i].array, masks.rle or masks.label_map()");
    }
    std::shared_ptr<uint8_t> pixels(static_cast<uint8_t*>(std::calloc(bytes, 1)), std::free);
    if (pixels == nullptr) out_of_memory("masks.array", bytes);
    for (int64_t i = 0; i < count; ++i)
        render(set.masks()[static_cast<std::size_t>(i)].runs, pixels.get() + i * plane);
    return pixels;
}

void render_labels(const MaskSet& set, uint32_t* labels) {
    std::fill_n(labels, set.size().area(), 0U);
    for (const std::size_t i : drawing_order(set)) {
        for (const Run& r : set.masks()[i].runs)
            std::fill(labels + r.begin, labels + r.end, static_cast<uint32_t>(i + 1));
    }
}

void render_overlay(const MaskSet& set, ImageView image, double alpha, uint8_t* out) {
    const Size size = set.size();
    if (image.size != size) invalid("overlay: the image has another size than the masks");
    if (!(alpha >= 0 && alpha <= 1)) invalid("overlay: alpha must be from 0 to 1");
    for (int64_t y = 0; y < size.height; ++y)
        std::copy_n(image.row(y), size.width * 3, out + y * size.width * 3);
    std::vector<uint32_t> labels(static_cast<std::size_t>(size.area()));
    render_labels(set, labels.data());
    const auto label = [&](int64_t y, int64_t x) {
        return labels[static_cast<std::size_t>(y * size.width + x)];
    };
    for (int64_t y = 0; y < size.height; ++y) {
        for (int64_t x = 0; x < size.width; ++x) {
            const uint32_t l = label(y, x);
            if (l == 0) continue;
            const bool outline =
                (x > 0 && label(y, x - 1) != l) || (x + 1 < size.width && label(y, x + 1) != l) ||
                (y > 0 && label(y - 1, x) != l) || (y + 1 < size.height && label(y + 1, x) != l);
            const Colour c = colour_of(l - 1);
            uint8_t* p = out + (y * size.width + x) * 3;
            const double a = outline ? 1.0 : alpha;
            const double rgb[3] = {c.r, c.g, c.b};
            for (int i = 0; i < 3; ++i)
                p[i] = static_cast<uint8_t>(std::lround((1 - a) * p[i] + a * 255.0 * rgb[i]));
        }
    }
}

}  // namespace segrid
