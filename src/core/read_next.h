// Memory that is read soon, for which a computation may ask meanwhile. (It includes no ATen, since
// files that are compiled for an instruction set use it.)
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace segrid {

inline constexpr int64_t kLineBytes = 64;  // of the caches

struct ReadNext {
    const void* at = nullptr;
    int64_t bytes = 0;
};

// Deals regions out to the parts of a computation, one piece for each part: about the same size,
// and never of two regions.
class ReadAhead {
public:
    ReadAhead(std::span<const ReadNext> regions, int64_t parts) : regions_(regions) {
        int64_t bytes = 0;
        for (const ReadNext& region : regions) bytes += region.bytes;
        // The last piece of each region but the last may be small.
        const int64_t whole = std::max<int64_t>(1, parts + 1 - std::ssize(regions));
        piece_ = ((bytes + whole - 1) / whole + kLineBytes - 1) / kLineBytes * kLineBytes;
    }
    ReadNext next() {
        if (regions_.empty()) return {};
        const ReadNext& region = regions_.front();
        const ReadNext piece{static_cast<const std::byte*>(region.at) + done_,
                             std::min(piece_, region.bytes - done_)};
        done_ += piece.bytes;
        if (done_ == region.bytes) {
            regions_ = regions_.subspan(1);
            done_ = 0;
        }
        return piece;
    }

private:
    std::span<const ReadNext> regions_;
    int64_t piece_ = 0, done_ = 0;  // bytes: of a piece, of the first region so far
};

// Asks for all of it at once. With more than a few lines the core waits.
inline void ask_for(const ReadNext& next) {
    for (int64_t i = 0; i < next.bytes; i += kLineBytes)
        __builtin_prefetch(static_cast<const std::byte*>(next.at) + i, /*for reading*/ 0,
                           /*to the second-level cache*/ 2);
}

}  // namespace segrid
