// The definitions: ATen's matrix product on views of the caller's memory. bf16 values are widened
// to fp32 first.
#include <ATen/Functions.h>

#include "kernels/gemm/implementations.h"
#include "kernels/gemm/op.h"

namespace segrid::gemm {
namespace {

at::Tensor view(Rows<const float> from, int64_t rows, int64_t columns) {
    return at::from_blob(const_cast<float*>(from.data), {rows, columns}, {from.stride, 1},
                         at::kFloat);
}

void product(const at::Tensor& a, const at::Tensor& b, at::Tensor c, bool accumulate) {
    if (accumulate) {
        c.addmm_(a, b);
    } else {
        at::mm_out(c, a, b);
    }
}

void fp32(int64_t m, int64_t n, int64_t k, Rows<const float> a, Rows<const float> b, Rows<float> c,
          bool accumulate, ReadNext) {
    product(view(a, m, k), view(b, k, n), view(c, m, n), accumulate);
}

void bf16(int64_t m, int64_t n, int64_t k, Rows<const uint16_t> a, Rows<const uint16_t> b,
          Rows<float> c, bool accumulate) {
    const at::Tensor left =
        at::from_blob(const_cast<uint16_t*>(a.data), {m, k}, {a.stride, 1}, at::kBFloat16)
            .to(at::kFloat);
    const at::Tensor right = at::from_blob(const_cast<uint16_t*>(b.data), {k / 2, n, 2},
                                           {2 * b.stride, 2, 1}, at::kBFloat16);
    product(left, right.to(at::kFloat).transpose(1, 2).reshape({k, n}), view(c, m, n), accumulate);
}

void int8(int64_t m, int64_t n, int64_t k, Rows<const uint8_t> a, Int8Panel b, Rows<float> c,
          bool accumulate, const Dequantisation& by) {
    dequantised(m, n, c, accumulate, by, [&](int32_t* sums) {
        const at::Tensor left =
            at::from_blob(const_cast<uint8_t*>(a.data), {m, k}, {a.stride, 1}, at::kByte)
                .to(at::kInt);
        const at::Tensor right = at::from_blob(const_cast<int8_t*>(b.data), {k / 4, n, 4},
                                               {4 * kPanel, 4, 1}, at::kChar);
        product(left, right.to(at::kInt).transpose(1, 2).reshape({k, n}),
                at::from_blob(sums, {m, n}, {64, 1}, at::kInt), /*accumulate=*/false);
    });
}

}  // namespace

const Fp32Implementation& fp32_plain() {
    static const Fp32Implementation table{fp32};
    return table;
}

const Bf16Implementation& bf16_plain() {
    static const Bf16Implementation table{bf16};
    return table;
}

const Int8Implementation& int8_plain() {
    static const Int8Implementation table{int8};
    return table;
}

}  // namespace segrid::gemm
