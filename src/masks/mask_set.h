// The masks of one call: their runs and properties. A value.
#pragma once

#include <limits>
#include <vector>

#include "core/geometry.h"
#include "kernels/runs/op.h"

namespace segrid {

struct Mask {
    Runs runs;         // over the set's size
    ImageBox box;      // inclusive maximum (segment-anything's); zeros when empty
    int64_t area = 0;  // pixels
    float score = 0;   // predicted IoU
    float stability = 0;
    // A logit; NaN if the model has none.
    float object_score = std::numeric_limits<float>::quiet_NaN();
    // The point that prompted the mask; NaN if there is none.
    ImagePoint point{std::numeric_limits<double>::quiet_NaN(),
                     std::numeric_limits<double>::quiet_NaN()};
    int64_t prompt = 0;  // index of the prompt it came from
    ImageBox crop_box;   // exclusive maximum
};

class MaskSet {
public:
    MaskSet() = default;
    explicit MaskSet(Size size) : size_(size) {}

    Size size() const { return size_; }
    const std::vector<Mask>& masks() const { return masks_; }
    std::vector<Mask>& masks() { return masks_; }

    // The masks at these indices, in that order. Throws InvalidInput for an index out of range. The
    // second form moves the masks, so its indices must be distinct.
    MaskSet select(const std::vector<int64_t>& indices) const&;
    MaskSet select(const std::vector<int64_t>& indices) &&;
    // Resizes runs by nearest neighbour, recomputes boxes and areas from them, and scales points
    // and crop boxes.
    MaskSet resized(Size to) const;

private:
    Size size_;
    std::vector<Mask> masks_;
};

}  // namespace segrid
