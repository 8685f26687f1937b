#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/error.h"
#include "kernels/runs/op.h"

namespace segrid {
namespace {

std::vector<uint8_t> random_bitmap(Size size, double density, unsigned seed) {
    std::mt19937 gen(seed);
    std::bernoulli_distribution stay(0.7), on(density);
    std::vector<uint8_t> bits(static_cast<std::size_t>(size.area()));
    uint8_t now = 0;
    for (auto& b : bits) {
        if (!stay(gen)) now = on(gen);
        b = now;
    }
    return bits;
}

std::vector<uint32_t> slow_counts(const std::vector<uint8_t>& bits, Size size) {
    std::vector<uint32_t> counts{0};
    uint8_t now = 0;
    for (int64_t x = 0; x < size.width; ++x) {
        for (int64_t y = 0; y < size.height; ++y) {
            const uint8_t b = bits[static_cast<std::size_t>(y * size.width + x)];
            if (b != now) {
                counts.push_back(0);
                now = b;
            }
            ++counts.back();
        }
    }
    return counts;
}

const std::vector<Size> kSizes = {{1, 1}, {1, 17}, {17, 1}, {5, 64}, {9, 7}, {33, 65}, {64, 64}};

TEST(Runs, BitmapRoundTrip) {
    for (const Size size : kSizes) {
        for (unsigned seed = 0; seed < 10; ++seed) {
            const auto bits = random_bitmap(size, seed / 9.0, seed);
            const Runs runs = from_bitmap(bits.data(), size);
            for (std::size_t i = 1; i < runs.size(); ++i) EXPECT_LT(runs[i - 1].end, runs[i].begin);
            std::vector<uint8_t> back(bits.size(), 0);
            render(runs, back.data());
            EXPECT_EQ(back, bits);
            EXPECT_EQ(area(runs), std::count(bits.begin(), bits.end(), 1));
        }
    }
}

TEST(Runs, CocoCountsBothWays) {
    for (const Size size : kSizes) {
        for (unsigned seed = 0; seed < 10; ++seed) {
            const auto bits = random_bitmap(size, seed / 9.0, seed);
            const Runs runs = from_bitmap(bits.data(), size);
            const auto counts = coco_counts(runs, size);
            EXPECT_EQ(counts, slow_counts(bits, size));
            EXPECT_EQ(from_coco_counts(counts, size), runs);
            EXPECT_EQ(decompress(compress(counts)), counts);
        }
    }
}

TEST(Runs, EmptyAndFull) {
    const Size size{4, 6};
    EXPECT_EQ(coco_counts({}, size), (std::vector<uint32_t>{24}));
    EXPECT_EQ(coco_counts({{0, 24}}, size), (std::vector<uint32_t>{0, 24}));
    EXPECT_EQ(inclusive_box({}, size), ImageBox{});
    EXPECT_EQ(inclusive_box({{0, 24}}, size), (ImageBox{0, 0, 5, 3}));
    EXPECT_EQ(from_coco_counts({24}, size), Runs{});
}

TEST(Runs, BadCountsAreRefused) {
    EXPECT_THROW(from_coco_counts({5}, {2, 2}), Error);
    EXPECT_THROW(from_coco_counts({}, {2, 2}), Error);
    EXPECT_THROW(decompress(std::string("\x7f")), Error);
    EXPECT_THROW(decompress("o"), Error);  // a number that continues beyond the end
}

TEST(Runs, TranslateCutsAtTheImage) {
    const Runs all{{0, 6}};  // 2 x 3
    EXPECT_EQ(translate(all, {2, 3}, {4, 5}, 1, 2), (Runs{{11, 14}, {16, 19}}));
    EXPECT_EQ(translate(all, {2, 3}, {4, 5}, 3, 3), (Runs{{18, 20}}));
    EXPECT_EQ(translate(all, {2, 3}, {4, 5}, -1, -1), (Runs{{0, 2}}));
    EXPECT_EQ(translate(all, {2, 3}, {4, 5}, 9, 0), Runs{});
    EXPECT_EQ(translate(all, {2, 3}, {2, 3}, 0, 0), all);  // adjacent rows still form one run
}

}  // namespace
}  // namespace segrid
