// What a sweep's tiles read from memory, and when they ask for it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "kernels/two_way/op.h"

namespace segrid::two_way {

// The multiply-adds of a key's scores.
inline int64_t score_work(const TwoWayShape& shape, const ImageSide& side) {
    if (side.rows == nullptr) return shape.dim * shape.columns();
    return shape.heads * side.width * shape.group_columns() + side.weights * shape.columns();
}

// The multiply-adds of a key.
inline int64_t work_of(const TwoWaySweep& s) {
    int64_t work = 2 * score_work(s.read->shape, s.read->side);
    if (s.update == nullptr) return work;
    const ImageUpdate& u = *s.update;
    work += score_work(u.shape, u.side);
    if (s.updated == nullptr) return work + u.shape.columns() * u.shape.dim;
    const int64_t updates = std::ssize(u.deviation.values), columns = u.shape.columns();
    return work + updates * u.shape.heads * u.deviation.width * u.shape.group_columns() +
           updates * (updates + 1) / 2 * columns * columns;
}

// What a sweep reads of the keys. The products of one tile ask for what the next tile reads, each
// for its share, so that memory works while they compute.
class Streams {
public:
    explicit Streams(const TwoWaySweep& s) : key_work_(work_of(s)) {
        const auto add_side = [&](const TwoWayShape& shape, const ImageSide& side) {
            add({side.rows, shape.heads * side.width});
            add({side.fixed, shape.heads * side.width});
        };
        if (s.updated == nullptr) add({s.keys_in, s.read->shape.dim});
        if (s.update != nullptr) {
            add_side(s.update->shape, s.update->side);
            add(s.update->deviation.mapped);
        }
        add_side(s.read->shape, s.read->side);
        add({s.read->values, s.read->shape.heads * s.read->side.width});
    }

    // A tile of so many keys begins; the next one is [k, k + count).
    void begin(int64_t keys, int64_t k, int64_t count) {
        k_ = k;
        count_ = std::max(count, int64_t{0});
        work_ = keys * key_work_;
        done_ = asked_ = offset_ = 0;
        stream_ = 0;
    }
    // What a product with so many multiply-adds asks for.
    std::span<const ReadNext> share(int64_t work) {
        constexpr int64_t kLine = 64;
        done_ += work;
        if (stream_ == streams_.size() || count_ == 0) return {};
        const Rows<const float>& rows = streams_[stream_];
        const int64_t size = count_ * rows.stride * 4,
                      due = count_ * key_bytes_ * done_ / work_ - asked_,
                      bytes = std::min(due / kLine * kLine, size - offset_);
        next_ = {reinterpret_cast<const std::byte*>(rows[k_]) + offset_, bytes};
        asked_ += bytes;
        offset_ += bytes;
        if (offset_ == size) {
            offset_ = 0;
            ++stream_;
        }
        return {&next_, 1};
    }

private:
    void add(Rows<const float> rows) {
        if (rows.data == nullptr) return;
        streams_.push_back(rows);
        key_bytes_ += rows.stride * 4;
    }

    std::vector<Rows<const float>> streams_;
    int64_t key_work_, key_bytes_ = 0;
    int64_t k_ = 0, count_ = 0, work_ = 1;       // of the tile
    int64_t done_ = 0, asked_ = 0, offset_ = 0;  // so far; the last is that of bytes in a stream
    std::size_t stream_ = 0;
    ReadNext next_;
};

}  // namespace segrid::two_way
