#include "masks/outline.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "core/error.h"

namespace segrid {
namespace {

enum Direction : uint8_t { Right, Down, Left, Up };
constexpr int64_t kStep[4][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};

using Corner = Ring::value_type;

bool in_raster_order(const Corner& a, const Corner& b) {
    return std::tie(a.second, a.first) < std::tie(b.second, b.first);
}

// Appends a closed walk as rings that pass no corner twice, each starting at its first corner in
// raster order. A walk returns to a corner if two pixels touch there. The part between the two
// visits becomes a ring of its own (a hole, which may touch its outer ring there), so that every
// polygon is valid.
void split_where_it_touches_itself(const Ring& walk, std::vector<Ring>& rings) {
    const auto add = [&](Ring ring) {
        std::rotate(ring.begin(), std::min_element(ring.begin(), ring.end(), in_raster_order),
                    ring.end());
        rings.push_back(std::move(ring));
    };
    Ring path;
    std::map<Corner, std::size_t> place;  // the index in path of each of its corners
    for (const Corner& corner : walk) {
        const auto [known, fresh] = place.try_emplace(corner, path.size());
        if (fresh) {
            path.push_back(corner);
            continue;
        }
        const auto first = path.begin() + static_cast<std::ptrdiff_t>(known->second);
        std::for_each(first + 1, path.end(), [&](const Corner& left) { place.erase(left); });
        add({first, path.end()});
        path.erase(first + 1, path.end());
    }
    add(std::move(path));
}

// The edges of a bitmap, with the inside on the right-hand side. Each corner has one bit for every
// direction in which an edge leaves it.
class Edges {
public:
    Edges(const Mask& mask, int64_t image_width)
        : x0_(static_cast<int64_t>(mask.box.x0)),
          y0_(static_cast<int64_t>(mask.box.y0)),
          width_(static_cast<int64_t>(mask.box.x1) - x0_ + 1),
          height_(static_cast<int64_t>(mask.box.y1) - y0_ + 1),
          corners_(static_cast<std::size_t>((width_ + 1) * (height_ + 1)), 0),
          beside_(corners_.size(), -1) {
        // With a border of one pixel.
        std::vector<uint8_t> inside(static_cast<std::size_t>((width_ + 2) * (height_ + 2)), 0);
        const auto at = [&](int64_t x, int64_t y) -> uint8_t& {
            return inside[static_cast<std::size_t>((y + 1) * (width_ + 2) + x + 1)];
        };
        for_each_row(mask.runs, image_width, [&](int64_t y, int64_t begin, int64_t end) {
            std::fill_n(&at(begin - x0_, y - y0_), end - begin, uint8_t{1});
        });
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

    // All rings, in raster order of their first corners. Each edge belongs to one ring.
    std::vector<Ring> walk() {
        std::vector<Ring> rings;
        for (int64_t start = 0; start < static_cast<int64_t>(corners_.size()); ++start) {
            while (corners_[static_cast<std::size_t>(start)] != 0) {
                split_where_it_touches_itself(from(start % (width_ + 1), start / (width_ + 1)),
                                              rings);
            }
        }
        std::sort(rings.begin(), rings.end(), [](const Ring& a, const Ring& b) {
            return in_raster_order(a.front(), b.front());
        });
        for (std::size_t i = 0; i < rings.size(); ++i) own(rings[i], static_cast<int32_t>(i));
        return rings;
    }

    // The ring that owns the nearest edge to the left of a ring's first corner, in the row below
    // that corner. For a hole, that ring belongs to the same component.
    std::size_t left_of(const Ring& ring) const {
        const int64_t y = ring.front().second - y0_;
        for (int64_t x = ring.front().first - x0_ - 1; x >= 0; --x) {
            if (const int32_t owner = beside_[static_cast<std::size_t>(y * (width_ + 1) + x)];
                owner >= 0)
                return static_cast<std::size_t>(owner);
        }
        internal("outline: a hole outside of all parts");
    }

private:
    uint8_t& corner(int64_t x, int64_t y) {
        return corners_[static_cast<std::size_t>(y * (width_ + 1) + x)];
    }
    void leave(int64_t x, int64_t y, Direction d) {
        corner(x, y) = static_cast<uint8_t>(corner(x, y) | 1U << d);
    }

    // The closed walk that leaves (x, y), as the corners at which it turns.
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
            // Turns right first, which stays with the same pixel if two touch at a corner.
            for (const int turn : {1, 0, 3}) {
                if (corner(x, y) >> (last + turn) % 4 & 1) {
                    d = (last + turn) % 4;
                    break;
                }
            }
        } while (x != begin_x || y != begin_y);
        return ring;
    }

    // Records a ring's number at each of its vertical edges.
    void own(const Ring& ring, int32_t number) {
        for (std::size_t i = 0; i < ring.size(); ++i) {
            const auto& [x, y] = ring[i];
            const auto [low, high] = std::minmax(y, ring[(i + 1) % ring.size()].second);
            for (int64_t row = low; row < high; ++row) {
                beside_[static_cast<std::size_t>((row - y0_) * (width_ + 1) + x - x0_)] = number;
            }
        }
    }

    int64_t x0_, y0_, width_, height_;
    std::vector<uint8_t> corners_;
    std::vector<int32_t> beside_;  // the ring of the vertical edge below each corner; -1: none
};

int64_t doubled_area(const Ring& ring) {  // positive if clockwise on the screen
    int64_t sum = 0;
    for (std::size_t i = 0; i < ring.size(); ++i) {
        const auto& [x0, y0] = ring[i];
        const auto& [x1, y1] = ring[(i + 1) % ring.size()];
        sum += x0 * y1 - x1 * y0;
    }
    return sum;
}

}  // namespace

std::vector<Polygon> outline(const Mask& mask, Size size) {
    std::vector<Polygon> out;
    if (mask.runs.empty()) return out;
    Edges edges(mask, size.width);
    std::vector<Ring> rings = edges.walk();
    // The polygon of each ring. The ring to the left of a hole always comes before it.
    std::vector<std::size_t> part(rings.size());
    for (std::size_t i = 0; i < rings.size(); ++i) {
        const bool hole = doubled_area(rings[i]) < 0;
        part[i] = hole ? part[edges.left_of(rings[i])] : out.size();
        if (hole) out[part[i]].push_back(std::move(rings[i]));
        else out.push_back({std::move(rings[i])});
    }
    return out;
}

}  // namespace segrid
