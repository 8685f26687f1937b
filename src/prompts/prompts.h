// What a user asks for, in image pixels.
#pragma once

#include <optional>
#include <vector>

#include "core/geometry.h"

namespace segrid {

// Attention among the tokens of one prompt grows with their square.
inline constexpr std::size_t kMaxPointsPerPrompt = 1024;

struct Prompt {
    std::vector<ImagePoint> points;
    bool points_given = false;  // an empty list of points differs from none: SAM pads it
    std::vector<int> labels;    // 1 foreground, 0 background, -1 padding, 2 and 3 corners of a box;
                                // others: a place and no more
    std::optional<ImageBox> box;
    const float* mask_hint = nullptr;  // low-res logits; not owned
};

// Throws InvalidInput naming index and value: no prompts; a prompt with nothing in it; points that
// are not finite or outside the image [0, width] x [0, height]; labels that are none of the above;
// boxes that are reversed, empty, not finite or outside; more than kMaxPointsPerPrompt points.
// anywhere, as the originals allow: points and boxes may lie outside the image, boxes be reversed
// or empty, labels be others, and a prompt hold nothing.
void validate(const std::vector<Prompt>& prompts, Size image, bool anywhere = false);

}  // namespace segrid
