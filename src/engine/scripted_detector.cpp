#include "engine/scripted_detector.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/trace.h"
#include "kernels/nms/op.h"
#include "kernels/resample/op.h"

namespace segrid {

ScriptedDetector::ScriptedDetector(const std::string& path, int64_t side, YoloLayout layout)
    : layout_(layout) {
    run_in_worker({}, [&] { model_ = std::make_shared<const ScriptedModel>(path); });
    side_ = side != 0 ? side : model_->side() != 0 ? model_->side() : 640;
    if (side_ < 32 || side_ > 8192)
        invalid("side: must be from 32 to 8192, got " + std::to_string(side_));
}

std::vector<Detection> ScriptedDetector::detect(ImageView image, const DetectOptions& options,
                                                const Schedule& schedule) const {
    check_size("detect: the image", image.size);
    const auto scale = std::min(static_cast<double>(side_) / static_cast<double>(image.size.height),
                                static_cast<double>(side_) / static_cast<double>(image.size.width));
    const auto scaled = [&](int64_t n) {
        return std::clamp<int64_t>(std::llround(static_cast<double>(n) * scale), 1, side_);
    };
    const Size inner{scaled(image.size.height), scaled(image.size.width)};
    const int64_t top = (side_ - inner.height) / 2, left = (side_ - inner.width) / 2,
                  plane = side_ * side_;
    std::vector<uint8_t> pixels(static_cast<std::size_t>(inner.area()) * 3);
    resize_rgb(image, pixels.data(), inner, schedule);
    std::vector<float> input(static_cast<std::size_t>(3 * plane), 114.0F / 255.0F);
    for (int64_t y = 0; y < inner.height; ++y) {
        const uint8_t* from = pixels.data() + y * inner.width * 3;
        for (int64_t i = 0; i < 3 * inner.width; ++i) {
            input[static_cast<std::size_t>(i % 3 * plane + (top + y) * side_ + left + i / 3)] =
                static_cast<float>(from[i]) / 255.0F;
        }
    }
    std::vector<ScriptedBox> found;
    run_in_worker(schedule, [&] {
        const Span span("scripted detector");
        found =
            model_->forward(input.data(), side_, static_cast<float>(options.threshold), layout_);
    });
    std::stable_sort(found.begin(), found.end(),
                     [](const ScriptedBox& a, const ScriptedBox& b) { return a.score > b.score; });
    std::vector<float> boxes, scores;
    std::vector<int64_t> labels;
    for (const ScriptedBox& b : found) {
        boxes.insert(boxes.end(), {b.x0, b.y0, b.x1, b.y1});
        scores.push_back(b.score);
        labels.push_back(b.label);
    }
    std::vector<int64_t> kept(found.size());
    std::iota(kept.begin(), kept.end(), 0);
    if (options.nms) {
        kept = box_nms_by_label(boxes.data(), scores.data(), labels.data(),
                                static_cast<int64_t>(found.size()), *options.nms,
                                [&] { schedule.cancel.check(); });
    }
    const double across = static_cast<double>(image.size.width) / static_cast<double>(inner.width),
                 down = static_cast<double>(image.size.height) / static_cast<double>(inner.height);
    std::vector<Detection> out;
    for (const int64_t i : kept) {
        const ScriptedBox& b = found[static_cast<std::size_t>(i)];
        const auto x = [&](float v) {
            return std::clamp((v - static_cast<double>(left)) * across, 0.0,
                              static_cast<double>(image.size.width));
        };
        const auto y = [&](float v) {
            return std::clamp((v - static_cast<double>(top)) * down, 0.0,
                              static_cast<double>(image.size.height));
        };
        out.push_back({{x(b.x0), y(b.y0), x(b.x1), y(b.y1)}, b.score, b.label, i});
    }
    return out;
}

}  // namespace segrid
