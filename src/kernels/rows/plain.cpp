// The definitions, in scalar C++.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/rows/implementations.h"
#include "kernels/rows/loops.h"

namespace segrid::rows {
namespace {

void relu(int64_t n, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] = std::max(x[i], 0.0F);
}

void gelu_rows(int64_t rows, int64_t n, float* x, int64_t ld) {
    for (; rows > 0; --rows, x += ld) {
        for (int64_t i = 0; i < n; ++i) x[i] = 0.5F * x[i] * (1.0F + std::erf(x[i] * 0.70710678F));
    }
}

void quick_gelu(int64_t n, float* x) {
    for (int64_t i = 0; i < n; ++i) x[i] /= 1.0F + std::exp(-1.702F * x[i]);
}

float layer_norm(int64_t n, const float* x, const float* gamma, const float* beta, float eps,
                 float* out) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; ++i) mean += x[i];
    mean /= static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
    const double inverse = 1.0 / std::sqrt(variance / static_cast<double>(n) + eps);
    for (int64_t i = 0; i < n; ++i)
        out[i] = static_cast<float>((x[i] - mean) * inverse) * gamma[i] + beta[i];
    return static_cast<float>(inverse);
}

void residual_norm(int64_t n, const float* x, const float* bias, const float* residual,
                   const float* gamma, const float* beta, float eps, float* out) {
    for (int64_t i = 0; i < n; ++i) out[i] = x[i] + bias[i] + residual[i];
    layer_norm(n, out, gamma, beta, eps, out);
}

float dot(int64_t n, const float* a, const float* b) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
    return static_cast<float>(sum);
}

void softmax_groups(int64_t count, int64_t size, const float* bias, float* x) {
    for (int64_t g = 0; g < count; g += size) {
        float max = -std::numeric_limits<float>::infinity(), sum = 0;
        for (int64_t i = g; i < g + size; ++i)
            max = std::max(max, x[i] += bias != nullptr ? bias[i] : 0.0F);
        for (int64_t i = g; i < g + size; ++i) sum += x[i] = std::exp(x[i] - max);
        for (int64_t i = g; i < g + size; ++i) x[i] /= sum;
    }
}

bool running_softmax_columns(int64_t rows, int64_t columns, Rows<const float> s, float* max,
                             float* sum, float* scale, Rows<float> p_t) {
    bool rescaled = false;
    for (int64_t c = 0; c < columns; ++c) {
        float top = max[c], total = 0;
        for (int64_t r = 0; r < rows; ++r) top = std::max(top, s[r][c]);
        scale[c] = top == max[c] ? 1.0F : std::exp(max[c] - top);
        rescaled |= scale[c] != 1.0F;
        max[c] = top;
        for (int64_t r = 0; r < rows; ++r) total += p_t[c][r] = std::exp(s[r][c] - top);
        sum[c] = sum[c] * scale[c] + total;
    }
    return rescaled;
}

float running_softmax_row(int64_t n, float* s, float& max, float& sum) {
    const float top = std::max(max, *std::max_element(s, s + n));
    const float scale = top == max ? 1.0F : std::exp(max - top);
    float total = 0;
    for (int64_t i = 0; i < n; ++i) total += s[i] = std::exp(s[i] - top);
    max = top;
    sum = sum * scale + total;
    return scale;
}

void transpose(int64_t rows, int64_t columns, const float* in, int64_t ldi, float* out,
               int64_t ldo) {
    for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) out[j * ldo + i] = in[i * ldi + j];
    }
}

bool quantise_row(int64_t n, const float* x, uint8_t* q, RowScale& row) {
    float low = 0, high = 0;
    for (int64_t i = 0; i < n; ++i) {
        if (!std::isfinite(x[i])) return false;
        low = std::min(low, x[i]);
        high = std::max(high, x[i]);
    }
    if (!std::isfinite(high - low)) return false;
    row = row_scale(low, high);
    const float inverse = 1.0F / row.scale;
    for (int64_t i = 0; i < n; ++i) {
        const auto v = static_cast<int32_t>(std::nearbyint(x[i] * inverse)) + row.zero;
        q[i] = static_cast<uint8_t>(std::clamp(v, 0, 255));
    }
    return true;
}

}  // namespace

const Table& plain() {
    static const Table table{add,
                             multiply_add,
                             multiply,
                             scale_add,
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
                             dot,
                             offset_rows,
                             turn_row,
                             turn_rows,
                             blend_row,
                             transpose,
                             to_bf16,
                             pair_bf16,
                             quantise_row,
                             dequantise_row};
    return table;
}

}  // namespace segrid::rows
