#include "engine/scratch.h"

#include <mutex>
#include <vector>

namespace segrid {
namespace {

constexpr std::size_t kStock = 4;  // arenas kept for later calls

std::mutex mutex;
std::vector<std::unique_ptr<Arena>>& stock() {
    static auto* arenas = new std::vector<std::unique_ptr<Arena>>();
    return *arenas;
}

}  // namespace

Scratch::Scratch() {
    {
        const std::lock_guard lock(mutex);
        if (!stock().empty()) {
            arena_ = std::move(stock().back());
            stock().pop_back();
        }
    }
    if (!arena_) arena_ = std::make_unique<Arena>();
}

Scratch::~Scratch() {
    const std::lock_guard lock(mutex);
    if (stock().size() < kStock) stock().push_back(std::move(arena_));
}

}  // namespace segrid
