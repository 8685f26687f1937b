// scan() for many masks at once, in ATen on the device of their logits. It is the definition, pixel
// by pixel, in pieces of bounded size. Called on the device thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "kernels/mask_scan/op.h"

namespace segrid {

class BatchScan {
public:
    BatchScan(const ScanPlan& plan, at::Device device);

    struct Found {
        std::vector<ScanResult> results;  // one per mask
        // The runs of the wanted masks, one mask after another, on the device: [runs, 2] in 32
        // bits, one tensor per piece.
        std::vector<at::Tensor> runs;
        std::vector<int64_t> wanted, counts;  // the wanted masks, and the number of runs of each
    };
    // logits: [masks, rows.inputs, columns.inputs]. wanted: returns whether the runs of a mask are
    // needed. bytes: the approximate memory that may be used in addition to logits and runs.
    Found operator()(
        const at::Tensor& logits, float threshold, float offset, int64_t bytes,
        const std::function<bool(int64_t mask, const ScanResult& result)>& wanted) const;
    // The memory that one mask needs while its pixels are computed.
    int64_t bytes_per_mask() const { return size_.area() * 12; }

private:
    Size size_;
    at::Tensor rows_, columns_;  // [outputs, inputs], [inputs, outputs]
};

// Copies indices to a device, for index_select.
at::Tensor on_device(const std::vector<int64_t>& indices, at::Device device);

// Copies runs from a device and splits them into masks; mask i has counts[i] runs.
std::vector<Runs> collect_runs(const at::Tensor& runs, const std::vector<int64_t>& counts);

}  // namespace segrid
