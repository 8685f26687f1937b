// Row-wise operations in fp32 on raw memory, which connect the matrix products. They work in place
// only where stated, and need no alignment.
#pragma once

#include <cstdint>

#include "core/rows.h"
#include "kernels/rows/row_scale.h"

namespace segrid {

void add(int64_t n, const float* a, const float* b, float* out);  // out = a + b; out may be a or b
void multiply_add(int64_t n, const float* a, const float* b, float* out);        // out += a * b
void multiply(int64_t n, const float* a, float* x);                              // x *= a
void scale_add(int64_t n, float a, const float* x, const float* b, float* out);  // out = a x + b
void relu(int64_t n, float* x);
// x Phi(x) with the error function, as torch's default. Rows are ld floats apart.
void gelu_rows(int64_t rows, int64_t n, float* x, int64_t ld);
inline void gelu(int64_t n, float* x) { gelu_rows(1, n, x, n); }
void quick_gelu(int64_t n, float* x);  // x / (1 + exp(-1.702 x)), as in CLIP
// out = (x - mean) / sqrt(variance + eps) * gamma + beta over n values, with the biased variance.
// out may be x. Returns 1 / sqrt(variance + eps).
float layer_norm(int64_t n, const float* x, const float* gamma, const float* beta, float eps,
                 float* out);
// The same for x + bias + residual, with n values each; out may be x.
void residual_norm(int64_t n, const float* x, const float* bias, const float* residual,
                   const float* gamma, const float* beta, float eps, float* out);
// x = softmax(x + bias) within each group of `size` consecutive values; count is a multiple of
// size. bias may be null. Where bias is -infinity the result is 0, as long as the group has another
// value.
void softmax_groups(int64_t count, int64_t size, const float* bias, float* x);
// One step of the running softmax of a score tile s[rows, columns] over its rows, per column:
// raises max[columns] to the tile's, writes p = exp(s - max), transposed, to p_t[columns, rows],
// adds the sums to sum[columns], and writes what earlier sums must be multiplied by to
// scale[columns] (1 where the maximum stood). Returns whether any scale differs from 1.
bool running_softmax_columns(int64_t rows, int64_t columns, Rows<const float> s, float* max,
                             float* sum, float* scale, Rows<float> p_t);
// The same over the n columns of one row, in place: s becomes exp(s - max). Returns the factor for
// earlier sums.
float running_softmax_row(int64_t n, float* s, float& max, float& sum);
// The same for scores in units of ln 2 and a product in bf16. Writes 2^(s - max) to out: powers
// with a relative error of at most 4e-6, then rounded to bf16. sum adds the rounded values, so the
// weights add up to 1. max is raised only if a score lies more than kPowerRoom above it: nothing
// overflows before that, and earlier sums need not be scaled again.
float running_power_row(int64_t n, const float* s, float& max, float& sum, uint16_t* out);
void scale_row(int64_t n, float factor, float* x);
float dot(int64_t n, const float* a, const float* b);
// x[i] += offsets[i] + table[0..n) for each of the consecutive rows x[i] of n floats.
void offset_rows(int64_t rows, int64_t n, const float* offsets, const float* table, float* x);
// Turns the pairs (x[i], x[n + i]) for i < n by angles whose cosines and sines are given.
void turn_row(int64_t n, const float* cos, const float* sin, float* x);
// Multiplies the complex numbers x[i] + x[n + i] i of each of the consecutive rows x of 2 n floats
// by cos[i] + sin[i] i, which may be of any length. out: rows as x, in other memory.
void turn_rows(int64_t rows, int64_t n, const float* cos, const float* sin, const float* x,
               float* out);
void blend_row(int64_t n, float a, float* x, float b, const float* y);  // x = a x + b y
// out[j * ldo + i] = in[i * ldi + j] for i < rows, j < columns.
void transpose(int64_t rows, int64_t columns, const float* in, int64_t ldi, float* out,
               int64_t ldo);
// Rounds to bf16, to nearest even. NaN stays NaN; subnormals may become 0.
void to_bf16(int64_t n, const float* x, uint16_t* out);
// Writes rows of n floats, which are `ld` apart, as consecutive bf16 rows. An odd n gets a 0 at the
// end of each row. This is the left-hand side of a product in bf16.
void to_bf16_rows(int64_t rows, int64_t n, const float* x, int64_t ld, uint16_t* out);
// Rounds two rows and interleaves them: out[2 i] = a[i], out[2 i + 1] = b[i]. If b is null, zeros.
void pair_bf16(int64_t n, const float* a, const float* b, uint16_t* out);

// q = round(x / scale) + zero, with the finest scale that covers the row and 0. Returns false,
// without a result, if x holds NaN or Inf.
bool quantise_row(int64_t n, const float* x, uint8_t* q, RowScale& row);
// out (+)= (sum - zero * offsets) * scale * scales + bias. Turns integer sums over quantised rows
// and columns back into fp32. offsets: sums of the columns. bias may be null.
void dequantise_row(int64_t n, const int32_t* sum, const int32_t* offsets, RowScale row,
                    const float* scales, const float* bias, float* out, bool accumulate);

}  // namespace segrid
