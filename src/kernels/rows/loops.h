// Loops that are the definition as they stand, and fast as they stand where the compiler may use wide vectors. Each file includes them for its own
// flags, so they belong to that file alone.
#pragma once

#include <bit>
#include <cstdint>

namespace segrid::rows {
namespace {

void add(int64_t n, const float* a, const float* b, float* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

void multiply_add(int64_t n, const float* a, const float* b, float* out) {
    for (int64_t i = 0; i < n; ++i) out[i] += a[i] * b[i];
}

void scale_row(int64_t n, float factor, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

void scale_add_row(int64_t n, float factor, float offset, const float* table, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] * factor + (offset + table[i]);
}

void blend_row(int64_t n, float a, float* x, float b, const float* y) {
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] * a + b * y[i];
}

inline uint16_t rounded(float x) {
    const auto bits = std::bit_cast<uint32_t>(x);
    const uint32_t nearest = (bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16;
    return static_cast<uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? (bits >> 16 | 0x40U) : nearest);  // NaN stays NaN
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

}  // namespace
}  // namespace segrid::rows
