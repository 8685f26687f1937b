// Loops that serve as definitions, and that are also fast where the compiler may use wide vectors.
// Each file compiles its own copy with its own flags.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/rows.h"
#include "kernels/rows/row_scale.h"

namespace segrid::rows {
namespace {

void add(int64_t n, const float* a, const float* b, float* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

void multiply_add(int64_t n, const float* a, const float* b, float* out) {
    for (int64_t i = 0; i < n; ++i) out[i] += a[i] * b[i];
}

void multiply(int64_t n, const float* a, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] *= a[i];
}

void scale_add(int64_t n, float a, const float* x, const float* b, float* __restrict out) {
    for (int64_t i = 0; i < n; ++i) out[i] = a * x[i] + b[i];
}

void scale_row(int64_t n, float factor, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

void offset_rows(int64_t rows, int64_t n, const float* offsets, const float* table, float* x) {
    for (int64_t r = 0; r < rows; ++r, x += n) {
        for (int64_t i = 0; i < n; ++i) x[i] += offsets[r] + table[i];
    }
}

void turn_row(int64_t n, const float* cos, const float* sin, float* x) {
    float* y = x + n;
    for (int64_t i = 0; i < n; ++i) {
        const float a = x[i], b = y[i];
        x[i] = a * cos[i] - b * sin[i];
        y[i] = b * cos[i] + a * sin[i];
    }
}

void turn_rows(int64_t rows, int64_t n, const float* cos, const float* sin,
               const float* __restrict x, float* __restrict out) {
    for (int64_t r = 0; r < rows; ++r, x += 2 * n, out += 2 * n) {
        for (int64_t i = 0; i < n; ++i) {
            out[i] = x[i] * cos[i] - x[n + i] * sin[i];
            out[n + i] = x[n + i] * cos[i] + x[i] * sin[i];
        }
    }
}

void blend_row(int64_t n, float a, float* x, float b, const float* y) {
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] * a + b * y[i];
}

inline uint16_t rounded(float x) {
    const auto bits = std::bit_cast<uint32_t>(x);
    const uint32_t nearest = (bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16;
    // NaN stays NaN.
    return static_cast<uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? (bits >> 16 | 0x40U)
                                                                    : nearest);
}

void to_bf16(int64_t n, const float* x, uint16_t* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = rounded(x[i]);
}

void pair_bf16(int64_t n, const float* a, const float* b, uint16_t* out) {
    for (int64_t i = 0; i < n; ++i) {
        out[2 * i] = rounded(a[i]);
        out[2 * i + 1] = b != nullptr ? rounded(b[i]) : uint16_t{0};
    }
}

float running_power_row(int64_t n, const float* s, float& max, float& sum, uint16_t* out) {
    const float highest = *std::max_element(s, s + n),
                top = highest > max + kPowerRoom ? highest : max;
    const float scale = top == max ? 1.0F : std::exp2(max - top);
    float total = 0;
    for (int64_t i = 0; i < n; ++i) {
        out[i] = rounded(std::exp2(s[i] - top));
        total += std::bit_cast<float>(static_cast<uint32_t>(out[i]) << 16);
    }
    max = top;
    sum = sum * scale + total;
    return scale;
}

void dequantise_row(int64_t n, const int32_t* sum, const int32_t* offsets, RowScale row,
                    const float* scales, const float* bias, float* out, bool accumulate) {
    for (int64_t i = 0; i < n; ++i) {
        const float v =
            static_cast<float>(sum[i] - row.zero * offsets[i]) * (row.scale * scales[i]) +
            (bias != nullptr ? bias[i] : 0.0F);
        out[i] = accumulate ? out[i] + v : v;
    }
}

}  // namespace
}  // namespace segrid::rows
