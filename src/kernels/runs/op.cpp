#include "kernels/runs/op.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/error.h"

namespace segrid {

void append(Runs& runs, int64_t begin, int64_t end) {
    if (begin >= end) return;
    if (!runs.empty() && runs.back().end == begin) {
        runs.back().end = static_cast<uint32_t>(end);
    } else {
        runs.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
    }
}

int64_t area(const Runs& runs) {
    int64_t total = 0;
    for (const Run& r : runs) total += r.end - r.begin;
    return total;
}

int64_t intersection(const Runs& a, const Runs& b) {
    int64_t total = 0;
    auto i = a.begin();
    auto j = b.begin();
    while (i != a.end() && j != b.end()) {
        const uint32_t begin = std::max(i->begin, j->begin), end = std::min(i->end, j->end);
        if (begin < end) total += end - begin;
        if (i->end < j->end) ++i;
        else ++j;
    }
    return total;
}

ImageBox inclusive_box(const Runs& runs, Size size) {
    if (runs.empty()) return {};
    int64_t x0 = size.width, x1 = 0;
    for (const Run& r : runs) {
        const int64_t first = r.begin / size.width, last = (r.end - 1) / size.width;
        if (first != last) {  // reaches the right edge, and the left edge one row below
            x0 = 0;
            x1 = size.width - 1;
        } else {
            x0 = std::min(x0, r.begin - first * size.width);
            x1 = std::max(x1, r.end - 1 - first * size.width);
        }
    }
    return {static_cast<double>(x0), static_cast<double>(runs.front().begin / size.width),
            static_cast<double>(x1), static_cast<double>((runs.back().end - 1) / size.width)};
}

namespace {

// Calls f(x0, x1, y) for the stretches of columns in which rows y - 1 and y of the mask differ.
// Rows outside the mask count as zeros.
template <class F>
void for_each_change(const Runs& runs, Size size, const F& f) {
    std::vector<int64_t> above, here;  // edges x0, x1, x0, x1... of two adjacent rows
    int64_t row = -1;
    // The merged edges, taken in pairs, delimit the symmetric difference.
    const auto compare = [&](int64_t y) {
        std::size_t i = 0, j = 0;
        int64_t open = -1;
        while (i < above.size() || j < here.size()) {
            const int64_t a = i < above.size() ? above[i] : INT64_MAX,
                          b = j < here.size() ? here[j] : INT64_MAX;
            i += a <= b;
            j += b <= a;
            if (a == b) continue;
            const int64_t x = std::min(a, b);
            if (open < 0) {
                open = x;
            } else {
                f(open, x, y);
                open = -1;
            }
        }
    };
    const auto next_row = [&](int64_t y) {
        compare(row);
        above.swap(here);
        here.clear();
        if (row + 1 < y) {  // there are empty rows between the two
            ++row;
            if (!above.empty()) compare(row);
            above.clear();
        }
        row = y;
    };
    for_each_row(runs, size.width, [&](int64_t y, int64_t x0, int64_t x1) {
        if (row < 0) row = y;
        if (y != row) next_row(y);
        here.push_back(x0);
        here.push_back(x1);
    });
    if (row < 0) return;
    compare(row);
    above.swap(here);
    here.clear();
    if (row + 1 < size.height) compare(row + 1);
}

}  // namespace

// Going down a column, the mask changes at row y if rows y - 1 and y differ. The changes come
// sorted by row; one counting sort by column makes them the boundaries of the column-major runs.
std::vector<uint32_t> coco_counts(const Runs& runs, Size size) {
    struct Stretch {
        uint32_t x0, x1, y;
    };
    std::vector<Stretch> stretches;
    stretches.reserve(2 * runs.size());
    // The end of each column's changes.
    std::vector<uint32_t> end(static_cast<std::size_t>(size.width) + 1, 0);
    for_each_change(runs, size, [&](int64_t x0, int64_t x1, int64_t y) {
        stretches.push_back(
            {static_cast<uint32_t>(x0), static_cast<uint32_t>(x1), static_cast<uint32_t>(y)});
        for (int64_t x = x0; x < x1; ++x) ++end[static_cast<std::size_t>(x) + 1];
    });
    std::partial_sum(end.begin(), end.end(), end.begin());
    std::vector<uint32_t> changes(end.back());
    for (const Stretch& s : stretches) {
        for (uint32_t x = s.x0; x < s.x1; ++x) changes[end[x]++] = s.y;
    }
    std::vector<uint32_t> counts;
    counts.reserve(changes.size() + 2);
    int64_t last = 0;  // column-major position of the last change
    bool inside = false;
    const auto change_at = [&](int64_t place) {
        counts.push_back(static_cast<uint32_t>(place - last));
        last = place;
        inside = !inside;
    };
    for (std::size_t x = 0, i = 0; x < static_cast<std::size_t>(size.width); ++x) {
        const bool starts_inside = i < end[x] && changes[i] == 0;
        const int64_t top = static_cast<int64_t>(x) * size.height;
        if (inside != starts_inside) change_at(top);
        for (i += starts_inside; i < end[x]; ++i) change_at(top + changes[i]);
    }
    counts.push_back(static_cast<uint32_t>(size.area() - last));
    return counts;
}

Runs from_coco_counts(const std::vector<uint32_t>& counts, Size size) {
    int64_t total = 0;
    for (const uint32_t c : counts) total += c;
    if (total != size.area()) {
        invalid("RLE: the counts add up to " + std::to_string(total) + ", the size is " +
                std::to_string(size.height) + " x " + std::to_string(size.width));
    }
    // From columns to rows: collects each row's horizontal spans while it goes through the columns.
    std::vector<std::vector<std::pair<int64_t, int64_t>>> rows(
        static_cast<std::size_t>(size.height));
    int64_t place = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        if (i % 2 == 1) {
            for (int64_t p = place; p < place + counts[i]; ++p) {
                auto& spans = rows[static_cast<std::size_t>(p % size.height)];
                const int64_t x = p / size.height;
                if (!spans.empty() && spans.back().second == x) spans.back().second = x + 1;
                else spans.emplace_back(x, x + 1);
            }
        }
        place += counts[i];
    }
    Runs runs;
    for (int64_t y = 0; y < size.height; ++y) {
        for (const auto& [x0, x1] : rows[static_cast<std::size_t>(y)])
            append(runs, y * size.width + x0, y * size.width + x1);
    }
    return runs;
}

std::string compress(const std::vector<uint32_t>& counts) {
    constexpr std::size_t kMost = 7;  // the most bytes of a count
    std::string out(counts.size() * kMost, '\0');
    char* to = out.data();
    for (std::size_t i = 0; i < counts.size(); ++i) {
        int64_t x = counts[i];
        if (i > 2) x -= counts[i - 2];
        for (bool more = true; more;) {
            int64_t c = x & 0x1F;
            x >>= 5;
            more = (c & 0x10) ? x != -1 : x != 0;
            if (more) c |= 0x20;
            *to++ = static_cast<char>(c + 48);
        }
    }
    out.resize(static_cast<std::size_t>(to - out.data()));
    out.shrink_to_fit();
    return out;
}

std::vector<uint32_t> decompress(const std::string& bytes) {
    std::vector<uint32_t> counts;
    for (std::size_t p = 0; p < bytes.size();) {
        int64_t x = 0;
        int shift = 0;
        for (bool more = true; more;) {
            const int c = p < bytes.size() ? static_cast<unsigned char>(bytes[p]) - 48 : -1;
            if (c < 0 || c > 63 || shift > 35)
                invalid("RLE: not compressed counts, at byte " + std::to_string(p));
            x |= static_cast<int64_t>(c & 0x1F) << shift;
            more = (c & 0x20) != 0;
            ++p;
            shift += 5;
            if (!more && (c & 0x10)) x |= -(int64_t{1} << shift);
        }
        if (counts.size() > 2) x += counts[counts.size() - 2];
        if (x < 0 || x > UINT32_MAX) invalid("RLE: a count is out of range");
        counts.push_back(static_cast<uint32_t>(x));
    }
    return counts;
}

Runs translate(const Runs& runs, Size crop, Size image, int64_t dx, int64_t dy) {
    Runs out;
    for_each_row(runs, crop.width, [&](int64_t y, int64_t x0, int64_t x1) {
        if (y + dy < 0 || y + dy >= image.height) return;
        const int64_t row = (y + dy) * image.width;
        append(out, row + std::clamp<int64_t>(x0 + dx, 0, image.width),
               row + std::clamp<int64_t>(x1 + dx, 0, image.width));
    });
    return out;
}

Runs resize_nearest(const Runs& runs, Size from, Size to) {
    // Column x of the source covers the target columns [first(x), first(x + 1)).
    // The least t with floor((t + 0.5) source / target) >= x.
    const auto first = [](int64_t x, int64_t source, int64_t target) {
        return std::clamp<int64_t>((2 * x * target - source + 2 * source - 1) / (2 * source), 0,
                                   target);
    };
    std::vector<std::vector<std::pair<int64_t, int64_t>>> rows(
        static_cast<std::size_t>(from.height));
    for_each_row(runs, from.width, [&](int64_t y, int64_t x0, int64_t x1) {
        rows[static_cast<std::size_t>(y)].emplace_back(first(x0, from.width, to.width),
                                                       first(x1, from.width, to.width));
    });
    Runs out;
    for (int64_t y = 0; y < to.height; ++y) {
        const int64_t source =
            std::min(from.height - 1, (2 * y + 1) * from.height / (2 * to.height));
        for (const auto& [x0, x1] : rows[static_cast<std::size_t>(source)])
            append(out, y * to.width + x0, y * to.width + x1);
    }
    return out;
}

void render(const Runs& runs, uint8_t* pixels) {
    for (const Run& r : runs)
        std::memset(pixels + r.begin, 1, static_cast<std::size_t>(r.end - r.begin));
}

Runs from_bitmap(const uint8_t* pixels, Size size) {
    Runs runs;
    const int64_t count = size.area();
    for (int64_t i = 0; i < count;) {
        while (i < count && pixels[i] == 0) ++i;
        const int64_t begin = i;
        while (i < count && pixels[i] != 0) ++i;
        append(runs, begin, i);
    }
    return runs;
}

}  // namespace segrid
