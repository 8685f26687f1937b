#include "kernels/resample/op.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"

namespace segrid {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // Pillow's PRECISION_BITS
constexpr int64_t kMaxSide = int64_t{1} << 24;
constexpr int64_t kBand = 64;  // output rows per task

// For each output sample: its first input and its integer weights.
struct Filter {
    std::vector<int32_t> first, count, weights;
    int64_t taps = 0;
};

double triangle(double x) { return x < 1.0 ? 1.0 - x : 0.0; }
double cubic(double x) {
    constexpr double a = -0.5;
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

// kernel: the weight at a distance >= 0, which is in input samples if the image does not shrink; it
// is 0 from `reach` on.
Filter pillow(int64_t inputs, int64_t outputs, double (*kernel)(double), double reach) {
    const double scale = static_cast<double>(inputs) / static_cast<double>(outputs),
                 stretch = std::max(scale, 1.0), support = reach * stretch;
    Filter f;
    f.taps = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
    f.weights.assign(static_cast<std::size_t>(outputs * f.taps), 0);
    std::vector<double> w(static_cast<std::size_t>(f.taps));
    for (int64_t o = 0; o < outputs; ++o) {
        const double centre = (static_cast<double>(o) + 0.5) * scale;
        const auto low = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
        const auto high = std::min<int64_t>(inputs, static_cast<int64_t>(centre + support + 0.5));
        double sum = 0;
        for (int64_t i = 0; i < high - low; ++i) {
            w[static_cast<std::size_t>(i)] =
                kernel(std::abs((static_cast<double>(i + low) - centre + 0.5) * (1.0 / stretch)));
            sum += w[static_cast<std::size_t>(i)];
        }
        for (int64_t i = 0; i < high - low; ++i) {
            double v = w[static_cast<std::size_t>(i)];
            if (sum != 0.0) v *= 1.0 / sum;
            f.weights[static_cast<std::size_t>(o * f.taps + i)] = static_cast<int32_t>(
                v < 0 ? -0.5 + v * (1 << kPrecision) : 0.5 + v * (1 << kPrecision));
        }
        f.first.push_back(static_cast<int32_t>(low));
        f.count.push_back(static_cast<int32_t>(high - low));
    }
    return f;
}

// The weights as torch computes them, with every step in fp32.
struct FloatFilter {
    std::vector<int32_t> first, count;
    std::vector<float> weights;
    int64_t taps = 0;
};

FloatFilter float_triangle(int64_t inputs, int64_t outputs) {
    const float scale = static_cast<float>(inputs) / static_cast<float>(outputs),
                support = std::max(scale, 1.0F), inverse = 1.0F / support;
    FloatFilter f;
    f.taps = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
    f.weights.assign(static_cast<std::size_t>(outputs * f.taps), 0.0F);
    for (int64_t o = 0; o < outputs; ++o) {
        const auto centre =
            static_cast<float>(static_cast<double>(scale) * (static_cast<double>(o) + 0.5));
        const auto low =
            std::max<int64_t>(0, static_cast<int64_t>(static_cast<double>(centre - support) + 0.5));
        const auto high = std::min<int64_t>(
            inputs, static_cast<int64_t>(static_cast<double>(centre + support) + 0.5));
        float* w = f.weights.data() + o * f.taps;
        float sum = 0;
        const int64_t count = std::clamp<int64_t>(high - low, 0, f.taps);
        for (int64_t i = 0; i < count; ++i) {
            const auto x = static_cast<float>(
                std::abs((static_cast<double>(static_cast<float>(i + low) - centre) + 0.5) *
                         static_cast<double>(inverse)));
            w[i] = x < 1.0F ? 1.0F - x : 0.0F;
            sum += w[i];
        }
        for (int64_t i = 0; i < count && sum != 0.0F; ++i) w[i] /= sum;
        f.first.push_back(static_cast<int32_t>(low));
        f.count.push_back(static_cast<int32_t>(count));
    }
    return f;
}

void check_sides(Size from, Size to) {
    for (const int64_t side : {from.height, from.width, to.height, to.width}) {
        if (side < 1 || side >= kMaxSide)
            invalid("resize: both sizes must be from 1 to 2^24 - 1 in either direction");
    }
}

inline uint8_t clip(int32_t v) { return static_cast<uint8_t>(std::clamp(v >> kPrecision, 0, 255)); }

// Resamples one row along x.
void along_x(const uint8_t* row, const Filter& f, int64_t width, uint8_t* out) {
    for (int64_t x = 0; x < width; ++x) {
        const auto index = static_cast<std::size_t>(x);
        const uint8_t* p = row + 3 * f.first[index];
        const int32_t* w = f.weights.data() + x * f.taps;
        int32_t r = 1 << (kPrecision - 1), g = r, b = r;
        for (int32_t i = 0; i < f.count[index]; ++i, p += 3) {
            r += p[0] * w[i];
            g += p[1] * w[i];
            b += p[2] * w[i];
        }
        *out++ = clip(r);
        *out++ = clip(g);
        *out++ = clip(b);
    }
}

// Computes one row along y: the weighted sum of row(first), row(first + 1), ...
template <class Row>
void along_y(const Filter& f, int64_t y, int64_t bytes, const Row& row, int32_t* sums,
             uint8_t* out) {
    const auto index = static_cast<std::size_t>(y);
    std::fill_n(sums, bytes, 1 << (kPrecision - 1));
    for (int64_t i = 0; i < f.count[index]; ++i) {
        const uint8_t* p = row(f.first[index] + i);
        const int32_t w = f.weights[static_cast<std::size_t>(y * f.taps + i)];
        for (int64_t x = 0; x < bytes; ++x) sums[x] += p[x] * w;
    }
    for (int64_t x = 0; x < bytes; ++x) out[x] = clip(sums[x]);
}

// Weights at -limit..limit around a sample, as in scipy.ndimage.gaussian_filter1d; a single weight
// of 1 if sigma is 0.
std::vector<double> gaussian(double sigma) {
    if (sigma <= 1e-15) return {1.0};
    const auto reach = static_cast<int64_t>(4.0 * sigma + 0.5);
    std::vector<double> w;
    double sum = 0;
    for (int64_t i = -reach; i <= reach; ++i)
        sum += w.emplace_back(std::exp(-0.5 / (sigma * sigma) * static_cast<double>(i * i)));
    for (double& v : w) v /= sum;
    return w;
}

// The filter for the first `inputs` of `square` samples; the others are zeros.
FloatFilter blurred_bilinear(int64_t inputs, int64_t square, int64_t outputs) {
    const double scale = static_cast<double>(square) / static_cast<double>(outputs);
    const std::vector<double> blur = gaussian(std::max(0.0, (scale - 1) / 2));
    const auto reach = static_cast<int64_t>(blur.size() / 2);
    const auto mirrored = [&](int64_t i) {
        for (; square > 1 && (i < 0 || i >= square);) i = i < 0 ? -i : 2 * (square - 1) - i;
        return square > 1 ? i : 0;
    };
    FloatFilter f;
    f.taps = std::min<int64_t>(2 * reach + 2, square);
    f.weights.assign(static_cast<std::size_t>(outputs * f.taps), 0.0F);
    std::vector<double> w(static_cast<std::size_t>(f.taps));
    for (int64_t o = 0; o < outputs; ++o) {
        double at = (static_cast<double>(o) + 0.5) * scale - 0.5;
        if (at < 0) at = -at;
        if (at > static_cast<double>(square - 1))
            at = std::max(0.0, 2.0 * static_cast<double>(square - 1) - at);
        const auto left = static_cast<int64_t>(std::floor(at));
        const double share = at - static_cast<double>(left);
        const int64_t first = std::clamp<int64_t>(left - reach, 0, square - f.taps);
        std::fill(w.begin(), w.end(), 0.0);
        for (int64_t side = 0; side < 2; ++side) {
            for (int64_t i = -reach; i <= reach; ++i) {
                const int64_t from = mirrored(mirrored(left + side) + i);
                if (const double part =
                        (side == 0 ? 1 - share : share) * blur[static_cast<std::size_t>(i + reach)];
                    part != 0) {
                    w.at(static_cast<std::size_t>(from - first)) += part;
                }
            }
        }
        const int64_t count = std::clamp<int64_t>(inputs - first, 0, f.taps);
        for (int64_t i = 0; i < count; ++i)
            f.weights[static_cast<std::size_t>(o * f.taps + i)] =
                static_cast<float>(w[static_cast<std::size_t>(i)]);
        f.first.push_back(static_cast<int32_t>(std::min(first, inputs)));
        f.count.push_back(static_cast<int32_t>(count));
    }
    return f;
}

// Pillow's Image.resize with the given kernel.
void resize_rounded(ImageView src, uint8_t* dst, Size to, double (*kernel)(double), double reach,
                    const Schedule& schedule) {
    check_sides(src.size, to);
    const bool across = src.size.width != to.width, down = src.size.height != to.height;
    const Filter columns = across ? pillow(src.size.width, to.width, kernel, reach) : Filter{};
    const Filter rows = down ? pillow(src.size.height, to.height, kernel, reach) : Filter{};
    const int64_t bytes = to.width * 3, shrunk = src.size.height - to.height;
    const bool y_first = shrunk > 0 && shrunk > 2 * (src.size.width - to.width);
    parallel_for((to.height + kBand - 1) / kBand, schedule, [&](int64_t band, Worker& worker) {
        const int64_t begin = band * kBand, end = std::min(to.height, begin + kBand);
        const auto horizontal = [&](int64_t y, uint8_t* out) {
            if (across) along_x(src.row(y), columns, to.width, out);
            else std::copy_n(src.row(y), bytes, out);
        };
        if (!down) {
            for (int64_t y = begin; y < end; ++y) horizontal(y, dst + y * bytes);
            return;
        }
        int32_t* sums = worker.arena.take<int32_t>(std::max(bytes, src.size.width * 3));
        if (y_first) {
            uint8_t* tall = worker.arena.take<uint8_t>(src.size.width * 3);
            for (int64_t y = begin; y < end; ++y) {
                uint8_t* narrow = across ? tall : dst + y * bytes;
                along_y(
                    rows, y, src.size.width * 3, [&](int64_t row) { return src.row(row); }, sums,
                    narrow);
                if (across) along_x(tall, columns, to.width, dst + y * bytes);
            }
            return;
        }
        // A ring of rows that have been resized along x: input row y lies in slot y % taps.
        uint8_t* ring = worker.arena.take<uint8_t>(rows.taps * bytes);
        int64_t next = rows.first[static_cast<std::size_t>(begin)];
        for (int64_t y = begin; y < end; ++y) {
            const int64_t first = rows.first[static_cast<std::size_t>(y)],
                          count = rows.count[static_cast<std::size_t>(y)];
            for (next = std::max(next, first); next < first + count; ++next)
                horizontal(next, ring + next % rows.taps * bytes);
            along_y(
                rows, y, bytes, [&](int64_t row) { return ring + row % rows.taps * bytes; }, sums,
                dst + y * bytes);
        }
    });
}

// Resamples along x, then along y, in fp32.
void resize_floats(ImageView src, float* dst, Size to, const FloatFilter& columns,
                   const FloatFilter& rows, const Schedule& schedule) {
    const int64_t floats = to.width * 3;
    parallel_for((to.height + kBand - 1) / kBand, schedule, [&](int64_t band, Worker& worker) {
        const int64_t begin = band * kBand, end = std::min(to.height, begin + kBand);
        // A ring: input row y, resized along x, lies in slot y % taps.
        float* ring = worker.arena.take<float>(rows.taps * floats);
        int64_t next = rows.first[static_cast<std::size_t>(begin)];
        for (int64_t y = begin; y < end; ++y) {
            const int64_t first = rows.first[static_cast<std::size_t>(y)],
                          count = rows.count[static_cast<std::size_t>(y)];
            for (next = std::max(next, first); next < first + count; ++next) {
                float* out = ring + next % rows.taps * floats;
                for (int64_t x = 0; x < to.width; ++x) {
                    const uint8_t* p =
                        src.row(next) + 3 * columns.first[static_cast<std::size_t>(x)];
                    const float* w = columns.weights.data() + x * columns.taps;
                    float r = 0, g = 0, b = 0;
                    for (int32_t i = 0; i < columns.count[static_cast<std::size_t>(x)];
                         ++i, p += 3) {
                        r += static_cast<float>(p[0]) * w[i];
                        g += static_cast<float>(p[1]) * w[i];
                        b += static_cast<float>(p[2]) * w[i];
                    }
                    *out++ = r;
                    *out++ = g;
                    *out++ = b;
                }
            }
            float* out = dst + y * floats;
            std::fill_n(out, floats, 0.0F);
            for (int64_t i = 0; i < count; ++i) {
                const float w = rows.weights[static_cast<std::size_t>(y * rows.taps + i)];
                const float* from = ring + (first + i) % rows.taps * floats;
                for (int64_t x = 0; x < floats; ++x) out[x] += from[x] * w;
            }
        }
    });
}

}  // namespace

void resize_rgb(ImageView src, uint8_t* dst, Size to, const Schedule& schedule) {
    resize_rounded(src, dst, to, triangle, 1.0, schedule);
}
void resize_rgb_bicubic(ImageView src, uint8_t* dst, Size to, const Schedule& schedule) {
    resize_rounded(src, dst, to, cubic, 2.0, schedule);
}

void resize_rgb_unrounded(ImageView src, float* dst, Size to, const Schedule& schedule) {
    check_sides(src.size, to);
    resize_floats(src, dst, to, float_triangle(src.size.width, to.width),
                  float_triangle(src.size.height, to.height), schedule);
}

void resize_rgb_blurred(ImageView src, float* dst, Size to, const Schedule& schedule) {
    check_sides(src.size, to);
    const int64_t square = std::max(src.size.height, src.size.width);
    resize_floats(src, dst, to, blurred_bilinear(src.size.width, square, to.width),
                  blurred_bilinear(src.size.height, square, to.height), schedule);
}

}  // namespace segrid
