#include "masks/regions.h"

#include <algorithm>
#include <numeric>

#include "kernels/nms/op.h"

namespace segrid {
namespace {

// The part of a run in one row, or the gap between two.
struct Segment {
    int64_t y, x0, x1;
};

// The segments of the mask (or of its complement) in raster order.
std::vector<Segment> segments_of(const Runs& runs, Size size, bool complement) {
    std::vector<Segment> segments;
    int64_t y = 0, x = 0;  // the first position that has not been looked at
    const auto gap_until = [&](int64_t row, int64_t column) {
        if (!complement) return;
        for (; y < row; ++y, x = 0) {
            if (x < size.width) segments.push_back({y, x, size.width});
        }
        if (x < column) segments.push_back({y, x, column});
    };
    for_each_row(runs, size.width, [&](int64_t row, int64_t x0, int64_t x1) {
        gap_until(row, x0);
        if (!complement) segments.push_back({row, x0, x1});
        y = row;
        x = x1;
    });
    gap_until(size.height, 0);
    return segments;
}

// The component of each segment, named by its first segment, and the area of each component.
struct Components {
    std::vector<std::size_t> root;
    std::vector<int64_t> area;  // at the root
};

Components connect(const std::vector<Segment>& segments, Connectivity connectivity) {
    // Columns beyond a segment's sides that still touch it.
    const int64_t reach = connectivity == Connectivity::Eight ? 1 : 0;
    Components c{std::vector<std::size_t>(segments.size()),
                 std::vector<int64_t>(segments.size(), 0)};
    std::iota(c.root.begin(), c.root.end(), std::size_t{0});
    const auto find = [&](std::size_t i) {
        while (c.root[i] != i) i = c.root[i] = c.root[c.root[i]];
        return i;
    };
    for (std::size_t above = 0, i = 0; i < segments.size(); ++i) {
        const Segment& s = segments[i];
        while (above < i && (segments[above].y + 1 < s.y ||
                             (segments[above].y + 1 == s.y && segments[above].x1 + reach <= s.x0)))
            ++above;
        for (std::size_t j = above;
             j < i && segments[j].y + 1 == s.y && segments[j].x0 < s.x1 + reach; ++j) {
            const std::size_t a = find(i), b = find(j);
            c.root[std::max(a, b)] = std::min(a, b);
        }
    }
    for (std::size_t i = 0; i < segments.size(); ++i) {
        c.root[i] = find(i);
        c.area[c.root[i]] += segments[i].x1 - segments[i].x0;
    }
    return c;
}

}  // namespace

bool remove_small_regions(Runs& runs, Size size, int64_t min_area, Region what,
                          Connectivity connectivity) {
    const bool holes = what == Region::Holes;
    const std::vector<Segment> segments = segments_of(runs, size, holes);
    const Components components = connect(segments, connectivity);
    std::size_t largest = 0;
    bool small = false, large = false;
    for (std::size_t i = 0; i < segments.size(); ++i) {
        if (components.root[i] != i) continue;
        small |= components.area[i] < min_area;
        large |= components.area[i] >= min_area;
        if (components.area[i] > components.area[largest]) largest = i;
    }
    if (!small) return false;
    const auto stays = [&](std::size_t i) {  // whether segment i is in the cleaned mask
        const std::size_t root = components.root[i];
        if (holes) return components.area[root] < min_area;
        return components.area[root] >= min_area || (!large && root == largest);
    };
    Runs cleaned;
    std::size_t next = 0;
    const auto append_until = [&](int64_t place) {
        for (; next < segments.size() && segments[next].y * size.width + segments[next].x0 < place;
             ++next) {
            const Segment& s = segments[next];
            if (stays(next)) append(cleaned, s.y * size.width + s.x0, s.y * size.width + s.x1);
        }
    };
    if (holes) {
        for (const Run& r : runs) {
            append_until(r.begin);
            append(cleaned, r.begin, r.end);
        }
    }
    append_until(size.area());
    runs = std::move(cleaned);
    return true;
}

void fill_small_regions(float* logits, Size size, const RegionFilling& filling) {
    const float threshold = filling.threshold;
    const auto fill = [&](bool above, int64_t most, float value) {
        if (most <= 0) return;
        std::vector<Segment> segments;
        for (int64_t y = 0; y < size.height; ++y) {
            const float* row = logits + y * size.width;
            for (int64_t x = 0; x < size.width;) {
                const int64_t x0 = x;
                const bool in = (row[x] > threshold) == above;
                while (x < size.width && ((row[x] > threshold) == above) == in) ++x;
                if (in) segments.push_back({y, x0, x});
            }
        }
        const Components components = connect(segments, Connectivity::Eight);
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const Segment& s = segments[i];
            if (components.area[components.root[i]] <= most)
                std::fill(logits + s.y * size.width + s.x0, logits + s.y * size.width + s.x1,
                          value);
        }
    };
    fill(false, filling.max_hole_area, threshold + filling.margin);
    fill(true, filling.max_sprinkle_area, threshold - filling.margin);
}

void postprocess_small_regions(MaskSet& set, int64_t min_area, Connectivity connectivity,
                               double nms_threshold, const Schedule& schedule) {
    std::vector<float> unchanged(set.masks().size());
    std::vector<float> boxes(set.masks().size() * 4);
    parallel_for(static_cast<int64_t>(set.masks().size()), schedule, [&](int64_t i, Worker&) {
        const auto index = static_cast<std::size_t>(i);
        Mask& mask = set.masks()[index];
        const bool holes =
            remove_small_regions(mask.runs, set.size(), min_area, Region::Holes, connectivity);
        const bool islands =
            remove_small_regions(mask.runs, set.size(), min_area, Region::Islands, connectivity);
        unchanged[index] = holes || islands ? 0.0F : 1.0F;
        // NMS compares the boxes of the pixels, but an unchanged mask keeps the box it had.
        const ImageBox b = inclusive_box(mask.runs, set.size());
        const double corners[4] = {b.x0, b.y0, b.x1, b.y1};
        for (std::size_t c = 0; c < 4; ++c) boxes[4 * index + c] = static_cast<float>(corners[c]);
        if (!holes && !islands) return;
        mask.area = area(mask.runs);
        mask.box = b;
    });
    set = std::move(set).select(box_nms(boxes.data(), unchanged.data(),
                                        static_cast<int64_t>(unchanged.size()), nms_threshold));
}

}  // namespace segrid
