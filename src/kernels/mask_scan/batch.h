// scan() for many masks at once, in ATen on the device of their logits: the definition, pixel by
// pixel, in pieces of bounded size. Called on the thread of devices.
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
        std::vector<ScanResult> results;  // of each mask
        std::vector<at::Tensor> runs;  // on the device, [runs, 2] in 32 bits, one tensor a piece:
                                       // of the masks that were wanted, one behind the other
        std::vector<int64_t> wanted, counts;  // those masks, and how many runs each has
    };
    // logits: [masks, rows.inputs, columns.inputs]. wanted: whether a mask's runs are. bytes: about
    // what may be used besides logits and runs.
    Found operator()(
        const at::Tensor& logits, float threshold, float offset, int64_t bytes,
        const std::function<bool(int64_t mask, const ScanResult& result)>& wanted) const;
    // Of a mask, while its pixels are looked at.
    int64_t bytes_per_mask() const { return size_.area() * 12; }

private:
    Size size_;
    at::Tensor rows_, columns_;  // [outputs, inputs], [inputs, outputs]
};

// Indices for index_select on a device.
at::Tensor on_device(const std::vector<int64_t>& indices, at::Device device);

// Runs as they lie on a device, on the CPU: `counts` of them for each mask.
std::vector<Runs> collect_runs(const at::Tensor& runs, const std::vector<int64_t>& counts);

}  // namespace segrid
