#include "kernels/gemm/torch_int8.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/native/quantized/PackedParams.h>

#include "core/cpu.h"
#include "kernels/gemm/op.h"

namespace segrid {

TorchInt8::TorchInt8(const at::Tensor& weight) : k_(weight.size(1)), n_(weight.size(0)) {
    const QuantisedWeight q = quantise(weight);
    const at::Tensor quantised = at::quantize_per_channel(
        weight, q.scales.to(at::kDouble), at::zeros({n_}, at::kLong), 0, at::kQInt8);
    static const auto prepack = c10::Dispatcher::singleton()
                                    .findSchemaOrThrow("quantized::linear_prepack", "")
                                    .typed<c10::intrusive_ptr<LinearPackedParamsBase>(
                                        at::Tensor, std::optional<at::Tensor>)>();
    auto packed = prepack.call(quantised, std::nullopt);
    // The intrusive pointer lives in the deleter.
    packed_ = {packed.get(), [packed](LinearPackedParamsBase*) {}};
}

void TorchInt8::product(int64_t rows, Rows<const float> a, Rows<float> out, bool accumulate) const {
    const at::Tensor input =
        at::from_blob(const_cast<float*>(a.data), {rows, k_}, {a.stride, 1}, at::kFloat)
            .contiguous();
    at::Tensor to = at::from_blob(out.data, {rows, n_}, {out.stride, 1}, at::kFloat);
    // Without VNNI, FBGEMM adds pairs of u8 x s8 products in 16 bits, which saturate; 7 bits of
    // input fit.
    const bool reduce_range = !cpu_features().avx512_vnni;
    const at::Tensor result = packed_->apply_dynamic(input, reduce_range);
    if (accumulate) to.add_(result);
    else to.copy_(result);
}

}  // namespace segrid
