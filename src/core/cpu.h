// What the CPU can do, and which kernels run because of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace segrid {

struct CpuFeatures {
    bool avx2 = false;      // with FMA
    bool avx_vnni = false;  // at 256 bits, also without AVX-512
    bool avx512 = false;    // F, BW, DQ, VL: what the avx512.cpp files are compiled for
    bool avx512_vnni = false;
    bool avx512_bf16 = false;
    bool amx = false;
};

// Read once from the CPU and the operating system, without the features that SEGRID_CPU masks.
const CpuFeatures& cpu_features();
std::string cpu_model();  // as the operating system names it

// Bytes of a core's own second-level cache; half a megabyte where the system does not say.
int64_t second_level_cache();

// SEGRID_CPU=plain|avx2|avx_vnni|avx512|avx512_vnni|avx512_bf16|amx makes the process compute as on
// a CPU that has this level and none above it. The libraries that torch computes with follow if
// torch has not computed anything yet: their environment variables are set here, except those that
// the user has set.
struct CpuMask {
    std::string level;                // the value of SEGRID_CPU; empty: nothing is masked
    std::vector<std::string> masked;  // features that the CPU has and this process does not use
};
// Throws InvalidInput for a level that is unknown or that this CPU lacks; nothing is masked in that
// case.
const CpuMask& cpu_mask();

// A kernel that has more than one implementation: a static object in its op.cpp. The CPU and
// SEGRID_KERNELS decide which implementation runs. Unset or "auto" means the best one, "plain"
// means the definitions, and a list such as "gemm=plain,mask_scan=avx512" names one per op. Packed
// weights stay valid for every implementation, so the choice may change between calls.
class KernelSwitch {
public:
    // available: the implementations that run on this CPU, best first; the last one is "plain".
    KernelSwitch(std::string op, std::vector<std::string> available);
    KernelSwitch(const KernelSwitch&) = delete;
    KernelSwitch& operator=(const KernelSwitch&) = delete;

    const std::string& op() const { return op_; }
    const std::vector<std::string>& available() const { return available_; }
    const std::string& chosen() const {
        return available_[static_cast<std::size_t>(chosen_.load(std::memory_order_relaxed))];
    }
    // The position of the chosen implementation in available().
    int index() const { return chosen_.load(std::memory_order_relaxed); }
    bool plain() const { return index() + 1 == static_cast<int>(available_.size()); }

    // The position of the implementation that `request` names for this op; -1 if it does not exist.
    int wanted(const std::string& request) const;
    // Runs this implementation from now on.
    void choose(int index) const { chosen_.store(index, std::memory_order_relaxed); }

private:
    std::string op_;
    std::vector<std::string> available_;
    mutable std::atomic<int> chosen_{0};
};

// A kernel whose implementations are tables of functions. *kernel is the chosen table. A null table
// means that this CPU cannot run the implementation.
template <class Table>
class KernelTables {
public:
    struct Entry {
        const char* name;
        const Table* table;
    };
    KernelTables(std::string op, std::vector<Entry> best_first)
        : KernelTables(std::move(op), here(std::move(best_first)), 0) {}
    const Table& operator*() const {
        return *entries_[static_cast<std::size_t>(switch_.index())].table;
    }
    const Table* operator->() const { return &**this; }

private:
    KernelTables(std::string op, std::vector<Entry> here, int)
        : entries_(std::move(here)), switch_(std::move(op), names(entries_)) {}
    static std::vector<Entry> here(std::vector<Entry> all) {
        std::erase_if(all, [](const Entry& e) { return e.table == nullptr; });
        return all;
    }
    static std::vector<std::string> names(const std::vector<Entry>& entries) {
        std::vector<std::string> all;
        for (const Entry& e : entries) all.push_back(e.name);
        return all;
    }
    std::vector<Entry> entries_;
    KernelSwitch switch_;
};

struct KernelChoice {
    std::string op;
    std::string chosen;
    std::vector<std::string> available;
};
std::vector<KernelChoice> kernel_choices();

// Throws InvalidInput where SEGRID_KERNELS names what force_kernels would refuse.
void check_kernels();

// Forces implementations from now on, in the syntax of SEGRID_KERNELS. Throws InvalidInput, and
// changes nothing, if an op does not exist or if a name is not an implementation of any op (or of
// the op named).
void force_kernels(const std::string& request);

}  // namespace segrid
