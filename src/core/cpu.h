// What the CPU can do, and which kernels run because of it.
#pragma once

#include <atomic>
#include <string>
#include <vector>

namespace segrid {

struct CpuFeatures {
    bool avx2 = false;    // with FMA
    bool avx512 = false;  // F, BW, DQ, VL: what the avx512.cpp files are compiled for
    bool avx512_vnni = false;
    bool avx512_bf16 = false;
    bool amx = false;
};

// Asked of the CPU and of the operating system, once, less what SEGRID_CPU masks.
const CpuFeatures& cpu_features();
std::string cpu_model();  // as the operating system names it

// SEGRID_CPU=plain|avx2|avx512|avx512_vnni|avx512_bf16|amx: the process computes as on a CPU that
// has this level and none above it. It holds for the libraries that torch computes with, too, where
// torch has not computed anything yet: their environment variables are set unless they are set
// already.
struct CpuMask {
    std::string level;                // what SEGRID_CPU names; empty: nothing is masked
    std::vector<std::string> masked;  // features that the CPU has and this process does not use
};
// Throws InvalidInput for a level that is unknown or that this CPU lacks (nothing is masked then).
const CpuMask& cpu_mask();

// A kernel that has more than one implementation: a static object in its op.cpp. Which one runs is
// decided by the CPU and by SEGRID_KERNELS: unset or "auto": the best one; "plain": the
// definitions; or a list such as "gemm=plain,mask_scan=avx512". Packed weights stay valid for every
// implementation, so the choice may change between calls.
class KernelSwitch {
public:
    // available: what runs on this CPU, best first; the last one is "plain".
    KernelSwitch(std::string op, std::vector<std::string> available);
    KernelSwitch(const KernelSwitch&) = delete;
    KernelSwitch& operator=(const KernelSwitch&) = delete;

    const std::string& op() const { return op_; }
    const std::vector<std::string>& available() const { return available_; }
    const std::string& chosen() const {
        return available_[static_cast<std::size_t>(chosen_.load(std::memory_order_relaxed))];
    }
    int index() const {
        return chosen_.load(std::memory_order_relaxed);
    }  // of the chosen one in available()
    bool plain() const { return index() + 1 == static_cast<int>(available_.size()); }

    // The implementation that `request` wants of this op; -1: one that is not there. And its
    // choice.
    int wanted(const std::string& request) const;
    void choose(int index) const { chosen_.store(index, std::memory_order_relaxed); }

private:
    std::string op_;
    std::vector<std::string> available_;
    mutable std::atomic<int> chosen_{0};
};

// A kernel whose implementations are tables of functions: *kernel is the chosen one's. A null table
// is not there on this CPU.
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

// Forces implementations from now on, in the syntax of SEGRID_KERNELS, all or none: throws
// InvalidInput for an op that is not there, and for a name that no op (or not the op that was
// named) has.
void force_kernels(const std::string& request);

}  // namespace segrid
