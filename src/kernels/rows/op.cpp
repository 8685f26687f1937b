#include "kernels/rows/op.h"

#include "core/cpu.h"
#include "kernels/rows/implementations.h"

namespace segrid {
namespace {

// Not a static inside a function: the check whether it is initialised took longer than some rows.
const KernelTables<rows::Table> kernel("rows",
                                       {{"avx512",
                                         cpu_features().avx512 ? &rows::avx512() : nullptr},
                                        {"avx2", cpu_features().avx2 ? &rows::avx2() : nullptr},
                                        {"plain", &rows::plain()}});

inline const rows::Table& table() { return *kernel; }

}  // namespace

void add(int64_t n, const float* a, const float* b, float* out) { table().add(n, a, b, out); }
void multiply_add(int64_t n, const float* a, const float* b, float* out) {
    table().multiply_add(n, a, b, out);
}
void multiply(int64_t n, const float* a, float* x) { table().multiply(n, a, x); }
void scale_add(int64_t n, float a, const float* x, const float* b, float* out) {
    table().scale_add(n, a, x, b, out);
}
void relu(int64_t n, float* x) { table().relu(n, x); }
void gelu_rows(int64_t rows, int64_t n, float* x, int64_t ld) { table().gelu_rows(rows, n, x, ld); }
void quick_gelu(int64_t n, float* x) { table().quick_gelu(n, x); }
float layer_norm(int64_t n, const float* x, const float* gamma, const float* beta, float eps,
                 float* out) {
    return table().layer_norm(n, x, gamma, beta, eps, out);
}
void residual_norm(int64_t n, const float* x, const float* bias, const float* residual,
                   const float* gamma, const float* beta, float eps, float* out) {
    table().residual_norm(n, x, bias, residual, gamma, beta, eps, out);
}
void softmax_groups(int64_t count, int64_t size, const float* bias, float* x) {
    table().softmax_groups(count, size, bias, x);
}
bool running_softmax_columns(int64_t rows, int64_t columns, Rows<const float> s, float* max,
                             float* sum, float* scale, Rows<float> p_t) {
    return table().running_softmax_columns(rows, columns, s, max, sum, scale, p_t);
}
float running_softmax_row(int64_t n, float* s, float& max, float& sum) {
    return table().running_softmax_row(n, s, max, sum);
}
float running_power_row(int64_t n, const float* s, float& max, float& sum, uint16_t* out) {
    return table().running_power_row(n, s, max, sum, out);
}
float dot(int64_t n, const float* a, const float* b) { return table().dot(n, a, b); }
void scale_row(int64_t n, float factor, float* x) { table().scale_row(n, factor, x); }
void offset_rows(int64_t rows, int64_t n, const float* offsets, const float* add, float* x) {
    table().offset_rows(rows, n, offsets, add, x);
}
void turn_row(int64_t n, const float* cos, const float* sin, float* x) {
    table().turn_row(n, cos, sin, x);
}
void turn_rows(int64_t rows, int64_t n, const float* cos, const float* sin, const float* x,
               float* out) {
    table().turn_rows(rows, n, cos, sin, x, out);
}
void blend_row(int64_t n, float a, float* x, float b, const float* y) {
    table().blend_row(n, a, x, b, y);
}
void transpose(int64_t rows, int64_t columns, const float* in, int64_t ldi, float* out,
               int64_t ldo) {
    table().transpose(rows, columns, in, ldi, out, ldo);
}
void to_bf16(int64_t n, const float* x, uint16_t* out) { table().to_bf16(n, x, out); }
void to_bf16_rows(int64_t rows, int64_t n, const float* x, int64_t ld, uint16_t* out) {
    const int64_t even = (n + 1) / 2 * 2;
    for (int64_t i = 0; i < rows; ++i, out += even) {
        table().to_bf16(n, x + i * ld, out);
        if (even > n) out[n] = 0;
    }
}
void pair_bf16(int64_t n, const float* a, const float* b, uint16_t* out) {
    table().pair_bf16(n, a, b, out);
}
bool quantise_row(int64_t n, const float* x, uint8_t* q, RowScale& row) {
    return table().quantise_row(n, x, q, row);
}
void dequantise_row(int64_t n, const int32_t* sum, const int32_t* offsets, RowScale row,
                    const float* scales, const float* bias, float* out, bool accumulate) {
    table().dequantise_row(n, sum, offsets, row, scales, bias, out, accumulate);
}

}  // namespace segrid
