#include "engine/precision.h"

#include "core/cpu.h"
#include "core/error.h"
#include "kernels/gemm/narrow.h"
#include "weights/config.h"

namespace segrid {
namespace {

bool has_bf16() { return cpu_features().avx512_bf16 || cpu_features().amx; }
bool has_int8() { return cpu_features().avx2; }

bool within_gates(const Config& settings, const std::string& name) {
    const std::string table = "precision." + name + ".";
    const double mean = settings.number(table + "iou_mean", -1.0);
    if (name == "bf16" || name == "fp16")
        return mean >= kBf16MeanIou && settings.number(table + "iou_min", -1.0) >= kBf16LeastIou;
    return mean >= kInt8MeanIou && settings.number(table + "ap50_loss", 1.0) <= kInt8Ap50Loss;
}

std::string automatic(const std::string& settings_path, bool plain) {
    if (settings_path.empty()) return "fp32";
    const Config settings = Config::read(settings_path);
    // The table's bf16 row was measured with the CPU's kernels, which round less than a device.
    if (plain) return within_gates(settings, "fp16") ? "fp16" : "fp32";
    if (settings.text("quantised", "") == "int8") return "int8";
    // All rows are read on every CPU, so that a broken table is an error everywhere.
    const bool int8 = within_gates(settings, "int8"), bf16 = within_gates(settings, "bf16"),
               narrow = within_gates(settings, "int8-narrow");
    if (has_int8() && (narrow_is_faster() ? narrow : int8)) return "int8";
    return bf16 && has_bf16() ? "bf16" : "fp32";
}

}  // namespace

Precisions precisions_of(Precision precision) {
    switch (precision) {
        case Precision::Int8: return {has_bf16() ? Precision::Bf16 : Precision::Fp32, precision};
        // LibTorch's dynamic quantisation leaves everything except the Linear layers in fp32.
        case Precision::Int8Torch: return {Precision::Fp32, precision};
        default: return {precision, precision};
    }
}

ResolvedPrecision resolve_precision(const std::string& request, const std::string& settings_path,
                                    std::optional<c10::Device> device) {
    const std::string name =
        request == "auto" ? automatic(settings_path, device.has_value()) : request;
    const auto kernels = [&](Precision precision) {
        return ResolvedPrecision{name, {precisions_of(precision), {}}};
    };
    if (device && (name == "fp32" || name == "bf16" || name == "fp16")) {
        const auto type = name == "fp32"   ? c10::kFloat
                          : name == "bf16" ? c10::kBFloat16
                                           : c10::kHalf;
        return {name, {{}, Placement{*device, type}}};
    }
    if (device && (name == "int8" || name == "int8-torch")) {
        fail(ErrorKind::Unsupported,
             "precision='" + name +
                 "': only CPUs have it (device='cpu'); use 'auto', 'fp16', 'bf16' or 'fp32'");
    }
    if (name == "fp32") return kernels(Precision::Fp32);
    if (name == "int8") return kernels(Precision::Int8);
    if (name == "int8-torch") return kernels(Precision::Int8Torch);
    if (name == "bf16") {
        if (!has_bf16()) {
            fail(ErrorKind::Unsupported,
                 "precision='bf16': this CPU has neither AVX512-BF16 nor AMX, so bf16 would be "
                 "slower than fp32; use 'auto', 'int8' or 'fp32'");
        }
        return kernels(Precision::Bf16);
    }
    if (name == "fp16")
        fail(ErrorKind::Unsupported,
             "precision='fp16': the CPU's kernels do not have it; use 'auto', 'bf16' or 'int8'");
    invalid("precision='" + request +
            "': unknown; use 'auto', 'fp32', 'bf16', 'fp16', 'int8' or 'int8-torch'");
}

}  // namespace segrid
