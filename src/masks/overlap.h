// Masks that share no pixel: each pixel goes to the mask whose logit is highest there.
#pragma once

#include <vector>

#include "kernels/mask_scan/op.h"
#include "kernels/runs/op.h"

namespace segrid {

// One mask: its low-res logits, and the runs that a scan with `plan` made of them at threshold 0.
struct OverlapLayer {
    const float* logits = nullptr;
    Runs* runs = nullptr;
};

// Removes pixels from the runs, which are at the plan's size, so that each belongs to one mask at
// most: the one with the highest upsampled logit, the first of equal ones (sam2's
// _apply_non_overlapping_constraints).
void make_disjoint(const std::vector<OverlapLayer>& layers, const ScanPlan& plan);

}  // namespace segrid
