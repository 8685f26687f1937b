// From low-res logits to a mask in one streaming pass: upsampling, threshold, stability, box and
// runs, without a full-size float mask.
#pragma once

#include <cstdint>
#include <vector>

#include "core/arena.h"
#include "core/geometry.h"
#include "kernels/runs/op.h"

namespace segrid {

// One direction of the composite resize, as a sparse operator: output i is a weighted sum of `taps`
// adjacent inputs.
struct ScanAxis {
    int64_t inputs = 0, outputs = 0, taps = 0;
    std::vector<int32_t> first;  // [outputs]: the first input of each output
    std::vector<float> weights;  // [taps][outputs], zero if an output has fewer taps
};

// The map from logits to the pixels of one crop. SAM resizes twice (bilinear, align_corners=False:
// low-res -> side x side, cut to `resized`, -> crop). Both steps are linear and separable, so each
// direction is one sparse operator with few taps.
class ScanPlan {
public:
    ScanPlan(Size low_res, int64_t side, Size resized, Size crop);
    // One step (SAM 2): low-res -> crop.
    ScanPlan(Size low_res, Size crop);

    const ScanAxis& rows() const { return rows_; }
    const ScanAxis& columns() const { return columns_; }
    Size size() const { return {rows_.outputs, columns_.outputs}; }

private:
    ScanAxis rows_, columns_;
};

struct ScanResult {
    int64_t area = 0;   // pixels above the threshold
    int64_t above = 0;  // above threshold + offset
    int64_t below = 0;  // above threshold - offset
    // above / below in float32. 0 if both are 0; segment-anything gets NaN, which fails its filter
    // too.
    float stability = 0;
    int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;  // inclusive; zeros if the mask is empty
};

// logits: [rows.inputs][columns.inputs]. runs: replaced; may be null. Scratch memory: a few output
// rows. NaN is not above any level. offset >= 0. An upsampled value is a convex combination of its
// inputs; so if all inputs of a pixel are at or below threshold - offset, or all are above
// threshold + offset, the pixel is not computed.
void scan(const float* logits, const ScanPlan& plan, float threshold, float offset,
          ScanResult& result, Runs* runs, Arena& arena);

}  // namespace segrid
