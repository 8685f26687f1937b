// The Python face of a MaskSet: an immutable value whose pixels are rendered once, on first access.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "bindings/arrays.h"
#include "engine/progress.h"
#include "masks/mask_set.h"

#include <ATen/core/Tensor.h>

namespace segrid::bindings {

class PyMaskSet {
public:
    PyMaskSet(MaskSet masks, Stats stats, at::Tensor low_res = {});

    const MaskSet& masks() const { return *masks_; }
    const Stats& stats() const { return stats_; }
    const at::Tensor& low_res() const { return low_res_; }

    // (N, H, W) bool. This object and every returned array share one memory.
    py::array_t<bool> dense();
    PyMaskSet select(const std::vector<int64_t>& indices) const;
    PyMaskSet resized(int64_t height, int64_t width) const;

private:
    std::shared_ptr<const MaskSet> masks_;
    Stats stats_;
    at::Tensor low_res_;
    struct Pixels {
        std::mutex mutex;
        std::shared_ptr<uint8_t> data;
    };
    std::shared_ptr<Pixels> pixels_ = std::make_shared<Pixels>();
};

}  // namespace segrid::bindings
