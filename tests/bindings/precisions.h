// Precisions by name, also on a CPU that lacks the instructions: what they compute can be looked at
// everywhere.
#pragma once

#include <string>

#include "core/error.h"
#include "engine/device.h"
#include "engine/precision.h"

inline segrid::Precision precision_of(const std::string& name) {
    using segrid::Precision;
    if (name == "fp32") return Precision::Fp32;
    if (name == "bf16") return Precision::Bf16;
    if (name == "int8") return Precision::Int8;
    if (name == "int8-torch") return Precision::Int8Torch;
    segrid::invalid("precision: fp32, bf16, int8 or int8-torch, got '" + name + "'");
}

inline segrid::Execution execution_of(const std::string& precision, const std::string& device) {
    const segrid::ResolvedDevice resolved = segrid::resolve_device(device);
    if (resolved.plain) return segrid::resolve_precision(precision, "", resolved.plain).execution;
    return {segrid::precisions_of(precision_of(precision)), {}};
}
