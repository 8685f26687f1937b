#include "core/arena.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"

namespace segrid {

namespace {
constexpr std::size_t kAlign = 64;
constexpr std::size_t kFirstBlock = std::size_t{1} << 20;
}  // namespace

void Arena::Free::operator()(std::byte* p) const { std::free(p); }

void* Arena::take_bytes(std::size_t bytes) {
    bytes = (std::max<std::size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign;
    while (block_ < blocks_.size() && used_ + bytes > blocks_[block_].size) {
        // An unused last block that is too small is replaced.
        if (used_ == 0 && block_ + 1 == blocks_.size()) break;
        ++block_;
        used_ = 0;
    }
    if (block_ >= blocks_.size() || used_ + bytes > blocks_[block_].size) {
        const std::size_t last = blocks_.empty() ? kFirstBlock / 2 : blocks_.back().size;
        const std::size_t size = std::max(bytes, 2 * last);
        auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlign, size));
        if (memory == nullptr) out_of_memory("scratch memory", size);
        if (block_ < blocks_.size()) blocks_.resize(block_);
        blocks_.push_back({std::unique_ptr<std::byte, Free>(memory), size});
        block_ = blocks_.size() - 1;
        used_ = 0;
    }
    std::byte* p = blocks_[block_].memory.get() + used_;
    used_ += bytes;
    return p;
}

std::size_t Arena::capacity() const {
    std::size_t total = 0;
    for (const Block& block : blocks_) total += block.size;
    return total;
}

void Arena::trim() {
    blocks_.clear();
    block_ = used_ = 0;
}

}  // namespace segrid
