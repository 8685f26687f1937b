#include <algorithm>
#include <opencv2/imgproc.hpp>

#include "kernels/nms/op.h"
#include "masks/regions.h"

namespace segrid {

bool remove_small_regions(uint8_t* pixels, Size size, int64_t min_area, Region what) {
    static const bool single_threaded = (cv::setNumThreads(1), true);  // the engine's pool is the only one
    (void)single_threaded;
    cv::Mat mask(static_cast<int>(size.height), static_cast<int>(size.width), CV_8U, pixels);
    cv::Mat working = what == Region::Holes ? cv::Mat(1 - mask) : mask, labels, stats, centroids;
    const int count = cv::connectedComponentsWithStats(working, labels, stats, centroids, 8);
    std::vector<uint8_t> fill(static_cast<std::size_t>(count), 0);  // what each region becomes
    bool small = false;
    const auto area_of = [&](int label) { return stats.at<int>(label, cv::CC_STAT_AREA); };
    for (int label = 1; label < count; ++label) small |= area_of(label) < min_area;
    if (!small) return false;
    if (what == Region::Holes) {
        // The mask itself (label 0 of its complement) and small holes become foreground.
        fill[0] = 1;
        for (int label = 1; label < count; ++label) fill[static_cast<std::size_t>(label)] = area_of(label) < min_area;
    } else {
        int largest = 1;
        bool any = false;
        for (int label = 1; label < count; ++label) {
            fill[static_cast<std::size_t>(label)] = area_of(label) >= min_area;
            any |= area_of(label) >= min_area;
            if (area_of(label) > area_of(largest)) largest = label;
        }
        if (!any) fill[static_cast<std::size_t>(largest)] = 1;
    }
    for (int y = 0; y < mask.rows; ++y) {
        for (int x = 0; x < mask.cols; ++x) mask.at<uint8_t>(y, x) = fill[static_cast<std::size_t>(labels.at<int>(y, x))];
    }
    return true;
}

MaskSet postprocess_small_regions(const MaskSet& set, int64_t min_area, double nms_threshold, const Schedule& schedule) {
    MaskSet cleaned(set.size());
    cleaned.masks() = set.masks();
    std::vector<float> unchanged(set.masks().size());
    std::vector<float> boxes(set.masks().size() * 4);
    parallel_for(static_cast<int64_t>(set.masks().size()), schedule, [&](int64_t i, Worker& worker) {
        const auto index = static_cast<std::size_t>(i);
        Mask& mask = cleaned.masks()[index];
        uint8_t* pixels = worker.arena.take<uint8_t>(set.size().area());
        std::fill_n(pixels, set.size().area(), uint8_t{0});
        render(mask.runs, pixels);
        const bool holes = remove_small_regions(pixels, set.size(), min_area, Region::Holes);
        const bool islands = remove_small_regions(pixels, set.size(), min_area, Region::Islands);
        unchanged[index] = holes || islands ? 0.0F : 1.0F;
        const ImageBox before = mask.box;
        if (holes || islands) {
            mask.runs = from_bitmap(pixels, set.size());
            mask.area = area(mask.runs);
        }
        // NMS sees boxes of the pixels; a mask that did not change keeps the box it had.
        mask.box = inclusive_box(mask.runs, set.size());
        const ImageBox& b = mask.box;
        const double corners[4] = {b.x0, b.y0, b.x1, b.y1};
        for (std::size_t c = 0; c < 4; ++c) boxes[4 * index + c] = static_cast<float>(corners[c]);
        if (!holes && !islands) mask.box = before;
    });
    return cleaned.select(box_nms(boxes.data(), unchanged.data(), static_cast<int64_t>(unchanged.size()), nms_threshold));
}

}  // namespace segrid
