// Masks as runs. A mask stays in this form until somebody asks for pixels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "core/geometry.h"

namespace segrid {

// A half-open interval of pixels in row-major order: pixel (y, x) is y * width + x. 32 bits
// suffice, because images have fewer than 2^32 pixels (kMaxImagePixels); they save memory, because
// masks of noise have millions of runs.
struct Run {
    uint32_t begin = 0;
    uint32_t end = 0;
    bool operator==(const Run&) const = default;
};

// Canonical: sorted, disjoint, never adjacent (runs that touch across a row boundary are one run).
// Equal masks have equal runs.
using Runs = std::vector<Run>;

// Appends [begin, end) after the last run, and joins the two if they touch. begin must not be
// before the last run's end.
void append(Runs& runs, int64_t begin, int64_t end);

// Calls f(y, x0, x1) for the part of each run in each row that it touches, in raster order.
template <class F>
void for_each_row(const Runs& runs, int64_t width, const F& f) {
    for (const Run& r : runs) {
        for (int64_t begin = r.begin; begin < r.end;) {
            const int64_t y = begin / width, end = std::min<int64_t>(r.end, (y + 1) * width);
            f(y, begin - y * width, end - y * width);
            begin = end;
        }
    }
}

int64_t area(const Runs& runs);
int64_t intersection(const Runs& a, const Runs& b);
// x0, y0, x1, y1 with inclusive maximum; zeros for an empty mask (as segment-anything's
// batched_mask_to_box).
ImageBox inclusive_box(const Runs& runs, Size size);

// COCO's column-major run lengths, beginning with a run of zeros. The cost depends on the runs and
// the width, not on the pixels.
std::vector<uint32_t> coco_counts(const Runs& runs, Size size);
// Throws InvalidInput if the lengths do not add up to the size.
Runs from_coco_counts(const std::vector<uint32_t>& counts, Size size);
// pycocotools' compressed form, byte for byte. decompress throws InvalidInput if the bytes are not
// in this form.
std::string compress(const std::vector<uint32_t>& counts);
std::vector<uint32_t> decompress(const std::string& bytes);

// Moves the mask of a crop to its position (dx, dy) in the image. Pixels outside the image are cut
// off.
Runs translate(const Runs& runs, Size crop, Size image, int64_t dx, int64_t dy);
// Resizes by nearest neighbour: pixel (y, x) of `to` is pixel (floor((y + 0.5) h / H), ...) of
// `from`.
Runs resize_nearest(const Runs& runs, Size from, Size to);

// Sets the mask's bytes to 1 and leaves the others unchanged.
void render(const Runs& runs, uint8_t* pixels);
Runs from_bitmap(const uint8_t* pixels, Size size);

}  // namespace segrid
