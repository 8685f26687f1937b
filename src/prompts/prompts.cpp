#include "prompts/prompts.h"

#include <cmath>
#include <sstream>

#include "core/error.h"

namespace segrid {
namespace {

std::string text(double v) {
    std::ostringstream out;
    out << v;
    return out.str();
}

// Beyond it positions have no meaning, and their products leave the range of fp32.
constexpr double kFarthest = 1e9;

void check_number(const std::string& got, double v) {
    if (!std::isfinite(v)) invalid(got + " is not finite");
    if (std::abs(v) > kFarthest) invalid(got + " is more than 1e9 pixels away");
}

std::string index(std::size_t i) { return std::string("[").append(std::to_string(i)).append("]"); }

}  // namespace

void validate(const std::vector<Prompt>& prompts, Size image, bool anywhere) {
    if (prompts.empty()) invalid("predict: no prompts; give points, boxes or mask_hints");
    const auto w = static_cast<double>(image.width), h = static_cast<double>(image.height);
    const std::string of_image =
        " of the image of " + text(w) + " x " + text(h) + " pixels (width x height)";
    const std::string outside =
        " is not inside [0, " + text(w) + "] x [0, " + text(h) + "]" + of_image;
    for (std::size_t p = 0; p < prompts.size(); ++p) {
        const Prompt& prompt = prompts[p];
        const std::string at = index(p);
        if (!anywhere && prompt.points.empty() && !prompt.box && prompt.mask_hint == nullptr) {
            invalid("prompt" + at + ": is empty; give points, a box or a mask hint");
        }
        if (prompt.points.size() != prompt.labels.size()) {
            invalid("labels" + at + ": " + std::to_string(prompt.labels.size()) + " labels for " +
                    std::to_string(prompt.points.size()) + " points");
        }
        if (prompt.points.size() > kMaxPointsPerPrompt) {
            invalid("points" + at + ": " + std::to_string(prompt.points.size()) +
                    " points in one prompt; the limit is " + std::to_string(kMaxPointsPerPrompt) +
                    " (kMaxPointsPerPrompt). Points of different objects are prompts of their own: "
                    "(P, K, 2)");
        }
        for (std::size_t k = 0; k < prompt.points.size(); ++k) {
            const ImagePoint& point = prompt.points[k];
            const int label = prompt.labels[k];
            const std::string where = at + index(k);
            if (!anywhere && (label < -1 || label > 3)) {
                invalid("labels" + where + ": " + std::to_string(label) +
                        " is none of 1 (foreground), 0 (background), -1 (padding), 2 and 3 (box "
                        "corners)");
            }
            if (label == -1) continue;  // padding has no position
            const bool inside = point.x >= 0 && point.y >= 0 && point.x <= w && point.y <= h;
            const std::string got =
                "points" + where + ": (" + text(point.x) + ", " + text(point.y) + ")";
            check_number(got, point.x);
            check_number(got, point.y);
            if (!anywhere && !inside) invalid(got + outside);
        }
        if (prompt.box) {
            const ImageBox& b = *prompt.box;
            const std::string got = "boxes" + at + ": (" + text(b.x0) + ", " + text(b.y0) + ", " +
                                    text(b.x1) + ", " + text(b.y1) + ")";
            for (const double v : {b.x0, b.y0, b.x1, b.y1}) check_number(got, v);
            if (anywhere) continue;
            if (b.x0 > b.x1 || b.y0 > b.y1)
                invalid(got +
                        " has its corners reversed; boxes are (x0, y0, x1, y1) with x0 < x1 and y0 "
                        "< y1");
            if (b.x0 == b.x1 || b.y0 == b.y1) invalid(got + " has no area");
            if (b.x0 < 0 || b.y0 < 0 || b.x1 > w || b.y1 > h) invalid(got + outside);
        }
    }
}

}  // namespace segrid
