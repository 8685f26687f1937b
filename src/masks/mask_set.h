// The masks of one call: runs and what is known of each. A value.
#pragma once

#include <limits>
#include <vector>

#include "core/geometry.h"
#include "kernels/runs/op.h"

namespace segrid {

struct Mask {
    Runs runs;         // of the set's size
    ImageBox box;      // inclusive maximum (segment-anything's); zeros when empty
    int64_t area = 0;  // pixels
    float score = 0;   // predicted IoU
    float stability = 0;
    float object_score =
        std::numeric_limits<float>::quiet_NaN();  // logit; NaN where the model has none
    ImagePoint point{std::numeric_limits<double>::quiet_NaN(),
                     std::numeric_limits<double>::quiet_NaN()};  // NaN: none
    int64_t prompt = 0;                                          // index of the prompt it came from
    ImageBox crop_box;                                           // exclusive maximum
};

class MaskSet {
public:
    MaskSet() = default;
    explicit MaskSet(Size size) : size_(size) {}

    Size size() const { return size_; }
    const std::vector<Mask>& masks() const { return masks_; }
    std::vector<Mask>& masks() { return masks_; }

    // The masks at these indices, in that order. Throws InvalidInput for an index out of range.
    MaskSet select(const std::vector<int64_t>& indices) const&;
    MaskSet select(
        const std::vector<int64_t>& indices) &&;  // moves the masks: the indices are distinct
    // At another size: runs by nearest neighbour; boxes, areas from the new runs; points and crop
    // boxes scaled.
    MaskSet resized(Size to) const;

private:
    Size size_;
    std::vector<Mask> masks_;
};

}  // namespace segrid
