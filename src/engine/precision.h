// What a request for a precision becomes, once, at load.
#pragma once

#include <string>

#include "core/execution.h"

namespace segrid {

struct ResolvedPrecision {
    std::string name;  // fp32, bf16, fp16, int8, int8-torch
    Execution execution;
};

// request: auto, fp32, bf16, fp16, int8, int8-torch. device: where the plain definitions run; none:
// the CPU's kernels. auto takes the fastest precision that this CPU has instructions for (on a
// device: fp16) and whose loss, by the model's table in segrid.json, stays within the gates below;
// without a table fp32; int8 for weights that are kept in int8. The others never fall back: throws
// Unsupported for bf16 on a CPU that has neither AVX512-BF16 nor AMX, for fp16 with the CPU's
// kernels, for int8 without them, and InvalidInput for unknown names.
ResolvedPrecision resolve_precision(const std::string& request, const std::string& settings_path,
                                    std::optional<c10::Device> device = {});

// The precisions that a named precision stands for: of all products, and of the encoder's Linear
// layers. With int8, everything except these layers is bf16 if the CPU has it.
Precisions precisions_of(Precision precision);

// Against fp32 on the model's own images (mask IoU of matched masks; AP50 against labels): what
// auto accepts.
inline constexpr double kBf16MeanIou = 0.995, kBf16LeastIou = 0.97, kInt8MeanIou = 0.98,
                        kInt8Ap50Loss = 0.01;

}  // namespace segrid
