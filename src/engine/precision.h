// Decides, when a model is loaded, in which precision it runs.
#pragma once

#include <string>

#include "core/execution.h"

namespace segrid {

struct ResolvedPrecision {
    std::string name;  // fp32, bf16, fp16, int8, int8-torch
    Execution execution;
};

// request: auto, fp32, bf16, fp16, int8 or int8-torch. device: where the plain definitions run;
// empty: the CPU's kernels run.
//
// auto takes the fastest precision that this CPU has instructions for (on a device: fp16) and whose
// loss, as the model's table in segrid.json states it, is within the limits below. Without a table
// it takes fp32. With the CPU's kernels it takes int8 for weights that are stored in int8.
//
// The others never fall back. Throws Unsupported for bf16 on a CPU that has neither AVX512-BF16 nor
// AMX, for fp16 with the CPU's kernels, and for int8 without them; throws InvalidInput for an
// unknown name.
ResolvedPrecision resolve_precision(const std::string& request, const std::string& settings_path,
                                    std::optional<c10::Device> device = {});

// The precisions that a named precision stands for: of all products, and of the encoder's Linear
// layers. With int8 everything except these layers is bf16 if the CPU has it, otherwise fp32.
Precisions precisions_of(Precision precision);

// The limits of auto, compared with fp32 on the images of the model's table: mean and least IoU of
// matched masks, and the loss of AP50 against labels.
inline constexpr double kBf16MeanIou = 0.995, kBf16LeastIou = 0.97, kInt8MeanIou = 0.98,
                        kInt8Ap50Loss = 0.01;

}  // namespace segrid
