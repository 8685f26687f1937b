// The prompts that a user gives, in image pixels.
#pragma once

#include <optional>
#include <vector>

#include "core/geometry.h"

namespace segrid {

// A limit, because the cost of attention among one prompt's tokens grows with their square.
inline constexpr std::size_t kMaxPointsPerPrompt = 1024;

struct Prompt {
    std::vector<ImagePoint> points;
    // Distinguishes an empty list of points from none at all: SAM pads an empty list.
    bool points_given = false;
    // 1 foreground, 0 background, -1 padding, 2 and 3 corners of a box. Any other label gives a
    // token that holds the point's position only.
    std::vector<int> labels;
    std::optional<ImageBox> box;
    const float* mask_hint = nullptr;  // low-res logits; not owned
};

// Throws InvalidInput naming index and value for: no prompts; a prompt with nothing in it; points
// that are not finite or lie outside the image [0, width] x [0, height]; labels other than those
// above; boxes that are reversed, empty, not finite or outside; more than kMaxPointsPerPrompt
// points. With `anywhere`, as in the original implementations, points and boxes may lie outside the
// image, boxes may be reversed or empty, labels may have other values, and a prompt may hold
// nothing.
void validate(const std::vector<Prompt>& prompts, Size image, bool anywhere = false);

}  // namespace segrid
