// For CPUs without AVX-512: loops that the compiler vectorises to eight lanes (the flags are in
// src/CMakeLists.txt), with an exponential and an error function that it can vectorise too. `omp
// simd` permits it to reorder additions in the marked sums only.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/rows/implementations.h"
#include "kernels/rows/loops.h"

namespace segrid::rows {
namespace {

// exp to 1 ulp: 2^n times a polynomial in the remainder (Cephes coefficients). 0 below -87; NaN
// stays NaN. x is at most 88.
inline float exponential(float x) {
    const float clamped = x < -87.0F ? -87.0F : x;
    const float n = std::rint(clamped * 1.44269504F);
    const float r = (clamped - n * 0.693359375F) - n * -2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + (r + 1.0F);
    const auto power = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
    return x < -87.0F ? 0.0F : p * power;
}

// erf to 1 ulp on both sides of 0.93 (minimax polynomials).
inline float error_function(float a) {
    const float t = std::min(10.0F, std::abs(a)), s = t * t;
    float far = -1.72853470e-5F * t + 3.83197126e-4F;
    far = far * s + (-3.88396438e-3F * t + 2.42546219e-2F);
    far = far * t - 1.06777877e-1F;
    far = far * t - 6.34846687e-1F;
    far = far * t - 1.28717512e-1F;
    far = std::copysign(1.0F - exponential(far * t - t), a);
    float near = -5.96761703e-4F;
    near = near * s + 4.99119423e-3F;
    near = near * s - 2.67681349e-2F;
    near = near * s + 1.12819925e-1F;
    near = near * s - 3.76125336e-1F;
    near = near * s + 1.28379166e-1F;
    near = near * a + a;
    return t > 0.927734375F ? far : near;
}

void relu(int64_t n, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] < 0.0F ? 0.0F : x[i];
}

void gelu_rows(int64_t rows, int64_t n, float* x, int64_t ld) {
    for (; rows > 0; --rows, x += ld) {
        for (int64_t i = 0; i < n; ++i)
            x[i] = 0.5F * x[i] * (1.0F + error_function(x[i] * 0.70710678F));
    }
}

void quick_gelu(int64_t n, float* x) {
    for (int64_t i = 0; i < n; ++i) {
        const float e = exponential(-1.702F * std::abs(x[i]));
        x[i] *= (x[i] < 0.0F ? e : 1.0F) / (1.0F + e);
    }
}

inline void normalise(int64_t n, float sum, const float* x, const float* gamma, const float* beta,
                      float eps, float* out) {
    const float mean = sum / static_cast<float>(n);
    float square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < n; ++i) square += (x[i] - mean) * (x[i] - mean);
    const float inverse = 1.0F / std::sqrt(square / static_cast<float>(n) + eps);
    for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * inverse * gamma[i] + beta[i];
}

void layer_norm(int64_t n, const float* x, const float* gamma, const float* beta, float eps,
                float* out) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += x[i];
    normalise(n, sum, x, gamma, beta, eps, out);
}

void residual_norm(int64_t n, const float* x, const float* bias, const float* residual,
                   const float* gamma, const float* beta, float eps, float* out) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) {
        out[i] = x[i] + bias[i] + residual[i];
        sum += out[i];
    }
    normalise(n, sum, out, gamma, beta, eps, out);
}

void softmax_groups(int64_t count, int64_t size, const float* bias, float* x) {
    if (bias != nullptr) add(count, x, bias, x);
    for (int64_t g = 0; g < count; g += size) {
        float* own = x + g;
        float max = -std::numeric_limits<float>::infinity(), sum = 0;
#pragma omp simd reduction(max : max)
        for (int64_t i = 0; i < size; ++i) max = max > own[i] ? max : own[i];
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < size; ++i) sum += own[i] = exponential(own[i] - max);
        const float inverse = 1.0F / sum;
        for (int64_t i = 0; i < size; ++i) own[i] *= inverse;
    }
}

void transpose(int64_t rows, int64_t columns, const float* in, int64_t ldi, float* out,
               int64_t ldo) {
    constexpr int64_t kBlock = 16;  // so that both sides stay in the first-level cache
    for (int64_t i0 = 0; i0 < rows; i0 += kBlock) {
        for (int64_t j = 0; j < columns; ++j) {
            for (int64_t i = i0; i < std::min(i0 + kBlock, rows); ++i)
                out[j * ldo + i] = in[i * ldi + j];
        }
    }
}

bool running_softmax_columns(int64_t rows, int64_t columns, Rows<const float> s, float* max,
                             float* sum, float* scale, Rows<float> p_t) {
    bool rescaled = false;
    constexpr int64_t kLanes = 16;
    for (int64_t c0 = 0; c0 < columns; c0 += kLanes) {  // columns is a multiple of 16
        float top[kLanes], total[kLanes], e[kLanes];
        for (int64_t c = 0; c < kLanes; ++c) top[c] = max[c0 + c];
        for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < kLanes; ++c)
                top[c] = top[c] > s[r][c0 + c] ? top[c] : s[r][c0 + c];
        }
        for (int64_t c = 0; c < kLanes; ++c) {
            scale[c0 + c] = top[c] == max[c0 + c] ? 1.0F : exponential(max[c0 + c] - top[c]);
            rescaled |= scale[c0 + c] != 1.0F;
            max[c0 + c] = top[c];
            total[c] = 0;
        }
        for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < kLanes; ++c) {
                e[c] = exponential(s[r][c0 + c] - top[c]);
                total[c] += e[c];
            }
            for (int64_t c = 0; c < kLanes; ++c) p_t[c0 + c][r] = e[c];
        }
        for (int64_t c = 0; c < kLanes; ++c) sum[c0 + c] = sum[c0 + c] * scale[c0 + c] + total[c];
    }
    return rescaled;
}

float running_softmax_row(int64_t n, float* s, float& max, float& sum) {
    float top = max, total = 0;
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < n; ++i) top = top > s[i] ? top : s[i];
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < n; ++i) total += s[i] = exponential(s[i] - top);
    const float scale = top == max ? 1.0F : exponential(max - top);
    max = top;
    sum = sum * scale + total;
    return scale;
}

}  // namespace

const Table& avx2() {
    static const Table table{add,
                             multiply_add,
                             relu,
                             gelu_rows,
                             quick_gelu,
                             layer_norm,
                             residual_norm,
                             softmax_groups,
                             running_softmax_columns,
                             running_softmax_row,
                             running_power_row,
                             scale_row,
                             offset_rows,
                             turn_row,
                             blend_row,
                             transpose,
                             to_bf16,
                             pair_bf16,
                             quantise_row,
                             dequantise_row};
    return table;
}

}  // namespace segrid::rows
