#include "masks/outline.h"

#include <algorithm>

namespace segrid {
namespace {

enum Direction : uint8_t { Right, Down, Left, Up };
constexpr int64_t kStep[4][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};

// Edges of a bitmap with inside on the right hand: at each corner a bit for every direction in which one leaves.
class Edges {
public:
    Edges(const Mask& mask, int64_t image_width)
        : x0_(static_cast<int64_t>(mask.box.x0)), y0_(static_cast<int64_t>(mask.box.y0)), width_(static_cast<int64_t>(mask.box.x1) - x0_ + 1),
          height_(static_cast<int64_t>(mask.box.y1) - y0_ + 1), corners_(static_cast<std::size_t>((width_ + 1) * (height_ + 1)), 0) {
        std::vector<uint8_t> inside(static_cast<std::size_t>((width_ + 2) * (height_ + 2)), 0);  // with a border
        const auto at = [&](int64_t x, int64_t y) -> uint8_t& { return inside[static_cast<std::size_t>((y + 1) * (width_ + 2) + x + 1)]; };
        for_each_row(mask.runs, image_width, [&](int64_t y, int64_t begin, int64_t end) { std::fill_n(&at(begin - x0_, y - y0_), end - begin, uint8_t{1}); });
        for (int64_t y = 0; y < height_; ++y) {
            for (int64_t x = 0; x < width_; ++x) {
                if (at(x, y) == 0) continue;
                if (at(x, y - 1) == 0) leave(x, y, Right);
                if (at(x + 1, y) == 0) leave(x + 1, y, Down);
                if (at(x, y + 1) == 0) leave(x + 1, y + 1, Left);
                if (at(x - 1, y) == 0) leave(x, y + 1, Up);
            }
        }
    }

    // All rings, each edge in one.
    std::vector<Ring> walk() {
        std::vector<Ring> rings;
        for (int64_t start = 0; start < static_cast<int64_t>(corners_.size()); ++start) {
            while (corners_[static_cast<std::size_t>(start)] != 0) rings.push_back(from(start % (width_ + 1), start / (width_ + 1)));
        }
        return rings;
    }

private:
    uint8_t& corner(int64_t x, int64_t y) { return corners_[static_cast<std::size_t>(y * (width_ + 1) + x)]; }
    void leave(int64_t x, int64_t y, Direction d) { corner(x, y) = static_cast<uint8_t>(corner(x, y) | 1U << d); }

    Ring from(int64_t x, int64_t y) {
        Ring ring;
        const int64_t begin_x = x, begin_y = y;
        int d = Right;
        while ((corner(x, y) >> d & 1) == 0) ++d;
        int last = -1;
        do {
            if (d != last) ring.emplace_back(x + x0_, y + y0_);
            corner(x, y) = static_cast<uint8_t>(corner(x, y) & ~(1U << d));
            x += kStep[d][0];
            y += kStep[d][1];
            last = d;
            for (const int turn : {1, 0, 3}) {  // right first: it stays with the pixel where two touch at a corner
                if (corner(x, y) >> (last + turn) % 4 & 1) {
                    d = (last + turn) % 4;
                    break;
                }
            }
        } while (x != begin_x || y != begin_y);
        return ring;
    }

    int64_t x0_, y0_, width_, height_;
    std::vector<uint8_t> corners_;
};

int64_t doubled_area(const Ring& ring) {  // positive: clockwise on the screen
    int64_t sum = 0;
    for (std::size_t i = 0; i < ring.size(); ++i) {
        const auto& [x0, y0] = ring[i];
        const auto& [x1, y1] = ring[(i + 1) % ring.size()];
        sum += x0 * y1 - x1 * y0;
    }
    return sum;
}

// Whether the middle of pixel (x, y) lies inside.
bool holds(const Ring& ring, int64_t x, int64_t y) {
    bool inside = false;
    for (std::size_t i = 0; i < ring.size(); ++i) {
        const auto& [x0, y0] = ring[i];
        const auto& [x1, y1] = ring[(i + 1) % ring.size()];
        if (x0 == x1 && x0 > x && std::min(y0, y1) <= y && y < std::max(y0, y1)) inside = !inside;
    }
    return inside;
}

}  // namespace

std::vector<Polygon> outline(const Mask& mask, Size size) {
    std::vector<Polygon> out;
    if (mask.runs.empty()) return out;
    std::vector<Ring> holes;
    for (Ring& ring : Edges(mask, size.width).walk()) {
        if (doubled_area(ring) > 0) out.push_back({std::move(ring)});
        else holes.push_back(std::move(ring));
    }
    for (Ring& hole : holes) {
        // A hole's first corner is its uppermost left one; the pixel up and left of the edge that leaves it lies outside the hole or is the mask's own: the pixel
        // of the hole is below and right of it.
        Polygon* owner = nullptr;
        int64_t smallest = 0;
        for (Polygon& polygon : out) {
            const int64_t area = doubled_area(polygon.front());
            if (holds(polygon.front(), hole.front().first, hole.front().second) && (owner == nullptr || area < smallest)) {
                owner = &polygon;
                smallest = area;
            }
        }
        owner->push_back(std::move(hole));
    }
    return out;
}

}  // namespace segrid
