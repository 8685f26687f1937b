#include "core/cpu.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string_view>

#include "core/error.h"

namespace segrid {

namespace {

CpuFeatures detect() {
    CpuFeatures f;
#if defined(__x86_64__)
    __builtin_cpu_init();
    f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    f.avx512_vnni = f.avx512 && __builtin_cpu_supports("avx512vnni");
    f.avx512_bf16 = f.avx512 && __builtin_cpu_supports("avx512bf16");
#endif
    // AMX and AVX-VNNI have no names in g++ 12's __builtin_cpu_supports.
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        if (line.rfind("flags", 0) == 0) {
            f.amx = line.find(" amx_tile") != std::string::npos;
            f.avx_vnni = f.avx2 && line.find(" avx_vnni") != std::string::npos;
            break;
        }
    }
    return f;
}

// A level of SEGRID_CPU: the feature it needs, and its name in each library that torch computes
// with.
struct Level {
    const char* name;
    bool CpuFeatures::*feature;  // null: no feature is needed
    const char *aten, *fbgemm, *onednn, *mkl;
};

// Lowest first.
constexpr Level kLevels[] = {
    {"plain", nullptr, "default", "AVX2", "SSE41", "SSE4_2"},
    {"avx2", &CpuFeatures::avx2, "avx2", "AVX2", "AVX2", "AVX2"},
    {"avx_vnni", &CpuFeatures::avx_vnni, "avx2", "AVX2", "AVX2_VNNI", "AVX2"},
    {"avx512", &CpuFeatures::avx512, "avx512", "AVX512", "AVX512_CORE", "AVX512"},
    {"avx512_vnni", &CpuFeatures::avx512_vnni, "avx512", "AVX512_E1", "AVX512_CORE_VNNI",
     "AVX512_E1"},
    {"avx512_bf16", &CpuFeatures::avx512_bf16, "avx512", "AVX512_E1", "AVX512_CORE_BF16",
     "AVX512_E1"},
    {"amx", &CpuFeatures::amx, "avx512", "AVX512_E1", "AVX512_CORE_AMX", "AVX512_E1"},
};

struct Cpu {
    CpuFeatures features;
    CpuMask mask;
    // Why SEGRID_CPU is refused. Thrown later, because kernels are registered before main.
    std::string problem;

    Cpu() : features(detect()) {
        const char* asked = std::getenv("SEGRID_CPU");
        if (asked == nullptr || *asked == '\0') return;
        const auto has = [&](const Level& l) {
            return l.feature == nullptr || features.*l.feature;
        };
        const auto level =
            std::find_if(std::begin(kLevels), std::end(kLevels),
                         [&](const Level& l) { return std::string_view(l.name) == asked; });
        if (level == std::end(kLevels) || !has(*level)) {
            problem = std::string("SEGRID_CPU='") + asked + "': ";
            problem += level == std::end(kLevels) ? "unknown" : "this CPU has no such instructions";
            problem += "; levels of this CPU are";
            for (const Level& l : kLevels) {
                if (has(l)) problem += std::string(" ") + l.name;
            }
            return;
        }
        mask.level = asked;
        for (auto above = level + 1; above != std::end(kLevels); ++above) {
            if (!has(*above)) continue;
            mask.masked.emplace_back(above->name);
            features.*above->feature = false;
        }
        if (mask.masked.empty()) return;
        setenv("ATEN_CPU_CAPABILITY", level->aten, 0);
        setenv("FBGEMM_ENABLE_INSTRUCTIONS", level->fbgemm, 0);
        setenv("ONEDNN_MAX_CPU_ISA", level->onednn, 0);
        setenv("MKL_ENABLE_INSTRUCTIONS", level->mkl, 0);
    }
};

const Cpu& cpu() {
    static const Cpu one;
    return one;
}

}  // namespace

const CpuFeatures& cpu_features() { return cpu().features; }

const CpuMask& cpu_mask() {
    if (!cpu().problem.empty()) invalid(cpu().problem);
    return cpu().mask;
}

std::string cpu_model() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
    }
    return "unknown CPU";
}

int64_t second_level_cache() {
    static const int64_t bytes = [] {
        int64_t found = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
        found = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
        return found > 0 ? found : int64_t{1} << 19;
    }();
    return bytes;
}

namespace {

struct Registry {
    std::mutex mutex;
    std::vector<const KernelSwitch*> switches;
    std::string request;

    Registry() {
        const char* text = std::getenv("SEGRID_KERNELS");
        if (text != nullptr) request = text;
    }
};

Registry& registry() {
    static auto* r = new Registry();  // outlives every kernel
    return *r;
}

// The implementation that `request` names for `op`; empty if it names none.
std::string requested(const std::string& request, const std::string& op) {
    std::string answer;
    for (std::size_t begin = 0; begin <= request.size();) {
        std::size_t end = request.find(',', begin);
        if (end == std::string::npos) end = request.size();
        const std::string item = request.substr(begin, end - begin);
        const auto equals = item.find('=');
        if (equals == std::string::npos) {
            if (!item.empty() && item != "auto") answer = item;
        } else if (item.substr(0, equals) == op) {
            answer = item.substr(equals + 1);
        }
        begin = end + 1;
    }
    return answer;
}

}  // namespace

KernelSwitch::KernelSwitch(std::string op, std::vector<std::string> available)
    : op_(std::move(op)), available_(std::move(available)) {
    Registry& r = registry();
    std::lock_guard lock(r.mutex);
    r.switches.push_back(this);
    choose(std::max(0, wanted(r.request)));
}

int KernelSwitch::wanted(const std::string& request) const {
    const std::string name = requested(request, op_);
    if (name.empty()) return 0;
    const auto found = std::find(available_.begin(), available_.end(), name);
    return found == available_.end() ? -1 : static_cast<int>(found - available_.begin());
}

namespace {

// Throws InvalidInput where a request, which `source` made, names what is not there.
void check(const std::string& source, const std::string& request, const Registry& r) {
    std::string known;
    for (const KernelSwitch* s : r.switches) {
        known += " " + s->op() + " (";
        for (const std::string& name : s->available())
            known += name + (name == "plain" ? ")" : ", ");
    }
    std::stringstream items(request);
    for (std::string item; std::getline(items, item, ',');) {
        const auto equals = item.find('=');
        const bool fits =
            item.empty() || item == "auto" ||
            std::any_of(r.switches.begin(), r.switches.end(), [&](const KernelSwitch* s) {
                if (equals != std::string::npos && s->op() != item.substr(0, equals)) return false;
                const std::string name =
                    equals == std::string::npos ? item : item.substr(equals + 1);
                return std::find(s->available().begin(), s->available().end(), name) !=
                       s->available().end();
            });
        if (!fits)
            invalid(source + ": '" + item + "' names nothing on this machine; there are:" + known);
    }
}

}  // namespace

void check_kernels() {
    Registry& r = registry();
    std::lock_guard lock(r.mutex);
    check("SEGRID_KERNELS", r.request, r);
}

void force_kernels(const std::string& request) {
    Registry& r = registry();
    std::lock_guard lock(r.mutex);
    check("kernels", request, r);
    // A bare name ("avx512") applies to the ops that have such an implementation.
    for (const KernelSwitch* s : r.switches) s->choose(std::max(0, s->wanted(request)));
    r.request = request;
}

std::vector<KernelChoice> kernel_choices() {
    Registry& r = registry();
    std::lock_guard lock(r.mutex);
    std::vector<KernelChoice> choices;
    for (const KernelSwitch* s : r.switches)
        choices.push_back({s->op(), s->chosen(), s->available()});
    return choices;
}

}  // namespace segrid
