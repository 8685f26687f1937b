#include "core/fresh_tensor.h"

#include <ATen/Functions.h>
#include <sys/mman.h>

#include <cstdint>

namespace segrid {

at::Tensor fresh_tensor(at::IntArrayRef sizes, at::ScalarType type) {
    at::Tensor out = at::empty(sizes, type);
#ifdef MADV_HUGEPAGE
    constexpr std::uintptr_t kPage = std::uintptr_t{2} << 20;
    const auto begin = reinterpret_cast<std::uintptr_t>(out.mutable_data_ptr()),
               end = begin + out.nbytes();
    const std::uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = end / kPage * kPage;
    // A refusal leaves the small pages.
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
    return out;
}

}  // namespace segrid
