#include "masks/mask_set.h"

#include "core/error.h"

namespace segrid {

namespace {

void check(const std::vector<int64_t>& indices, std::size_t count) {
    for (const int64_t i : indices) {
        if (i < 0 || i >= static_cast<int64_t>(count)) {
            invalid("masks: index " + std::to_string(i) + " is out of range for " +
                    std::to_string(count) + " masks");
        }
    }
}

}  // namespace

MaskSet MaskSet::select(const std::vector<int64_t>& indices) const& {
    check(indices, masks_.size());
    MaskSet out(size_);
    out.masks_.reserve(indices.size());
    for (const int64_t i : indices) out.masks_.push_back(masks_[static_cast<std::size_t>(i)]);
    return out;
}

MaskSet MaskSet::select(const std::vector<int64_t>& indices) && {
    check(indices, masks_.size());
    MaskSet out(size_);
    out.masks_.reserve(indices.size());
    for (const int64_t i : indices)
        out.masks_.push_back(std::move(masks_[static_cast<std::size_t>(i)]));
    return out;
}

MaskSet MaskSet::resized(Size to) const {
    check_size("masks: the size to resize to", to);
    MaskSet out(to);
    const double sx = static_cast<double>(to.width) / static_cast<double>(size_.width);
    const double sy = static_cast<double>(to.height) / static_cast<double>(size_.height);
    for (const Mask& m : masks_) {
        Mask r = m;
        r.runs = resize_nearest(m.runs, size_, to);
        r.area = area(r.runs);
        r.box = inclusive_box(r.runs, to);
        r.point = {m.point.x * sx, m.point.y * sy};
        r.crop_box = {m.crop_box.x0 * sx, m.crop_box.y0 * sy, m.crop_box.x1 * sx,
                      m.crop_box.y1 * sy};
        out.masks_.push_back(std::move(r));
    }
    return out;
}

}  // namespace segrid
