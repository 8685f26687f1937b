#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "core/cpu.h"
#include "kernels/mask_scan/op.h"

namespace segrid {
namespace {

enum class Kind { Noise, Blob, Hole, Stripes, Full, Empty };

std::vector<float> logits_of(Kind kind, Size size, unsigned seed) {
    std::mt19937 gen(seed);
    std::normal_distribution<float> noise;
    std::vector<float> out;
    const double cy = static_cast<double>(size.height) * 0.4,
                 cx = static_cast<double>(size.width) * 0.55;
    const double radius = 0.3 * static_cast<double>(std::min(size.height, size.width));
    for (int64_t y = 0; y < size.height; ++y) {
        for (int64_t x = 0; x < size.width; ++x) {
            const double d = std::hypot(static_cast<double>(y) - cy, static_cast<double>(x) - cx);
            double v = 0;
            switch (kind) {
                case Kind::Noise: v = 0; break;
                case Kind::Blob: v = radius - d; break;
                case Kind::Hole: v = 0.3 * radius - std::abs(radius - d); break;
                case Kind::Stripes:
                    v = 8 * std::sin(0.4 * static_cast<double>(x) + 0.1 * static_cast<double>(y));
                    break;
                case Kind::Full: v = 30; break;
                case Kind::Empty: v = -30; break;
            }
            out.push_back(static_cast<float>(v) +
                          0.4F * noise(gen) * (kind == Kind::Noise ? 5.0F : 1.0F));
        }
    }
    return out;
}

// Computes every pixel in double precision from the plan's operators.
std::vector<double> dense(const std::vector<float>& logits, const ScanPlan& plan) {
    const ScanAxis &r = plan.rows(), &c = plan.columns();
    std::vector<double> out;
    for (int64_t y = 0; y < r.outputs; ++y) {
        for (int64_t x = 0; x < c.outputs; ++x) {
            double sum = 0;
            for (int64_t i = 0; i < r.taps; ++i) {
                for (int64_t j = 0; j < c.taps; ++j) {
                    sum += static_cast<double>(
                               r.weights[static_cast<std::size_t>(i * r.outputs + y)]) *
                           static_cast<double>(
                               c.weights[static_cast<std::size_t>(j * c.outputs + x)]) *
                           static_cast<double>(logits[static_cast<std::size_t>(
                               (r.first[static_cast<std::size_t>(y)] + i) * c.inputs +
                               c.first[static_cast<std::size_t>(x)] + j)]);
                }
            }
            out.push_back(sum);
        }
    }
    return out;
}

struct Outcome {
    ScanResult result;
    Runs runs;
};

Outcome run(const std::vector<float>& logits, const ScanPlan& plan, const char* kernels) {
    force_kernels(kernels);
    Outcome o;
    Arena arena;
    scan(logits.data(), plan, 0.0F, 1.0F, o.result, &o.runs, arena);
    force_kernels("auto");
    return o;
}

struct Shape {
    Size low;
    int64_t side;
    Size resized, crop;
};

const std::vector<Shape> kShapes = {
    {{64, 64}, 256, {171, 256}, {300, 450}},
    {{64, 64}, 256, {256, 130}, {97, 49}},
    {{16, 16}, 64, {64, 64}, {1, 1}},
    {{64, 64}, 256, {256, 3}, {2000, 20}},
    {{37, 41}, 0, {}, {130, 333}},
    {{256, 256}, 1024, {683, 1024}, {120, 180}},
    {{5, 4}, 0, {}, {64, 128}},
    {{1, 1}, 0, {}, {3, 70}},
};

ScanPlan plan_of(const Shape& s) {
    return s.side > 0 ? ScanPlan(s.low, s.side, s.resized, s.crop) : ScanPlan(s.low, s.crop);
}

TEST(MaskScan, EveryImplementationHasTheSameBits) {
    for (const Shape& s : kShapes) {
        const ScanPlan plan = plan_of(s);
        for (int kind = 0; kind < 6; ++kind) {
            const auto logits =
                logits_of(static_cast<Kind>(kind), s.low, static_cast<unsigned>(kind));
            const Outcome plain = run(logits, plan, "mask_scan=plain"),
                          best = run(logits, plan, "auto");
            EXPECT_EQ(plain.runs, best.runs);
            EXPECT_EQ(plain.result.area, best.result.area);
            EXPECT_EQ(plain.result.above, best.result.above);
            EXPECT_EQ(plain.result.below, best.result.below);
        }
    }
}

TEST(MaskScan, SkippingChangesNothing) {
    for (const Shape& s : kShapes) {
        const ScanPlan plan = plan_of(s);
        for (int kind = 0; kind < 6; ++kind) {
            const auto logits =
                logits_of(static_cast<Kind>(kind), s.low, static_cast<unsigned>(10 + kind));
            const Outcome got = run(logits, plan, "auto");
            const auto values = dense(logits, plan);
            std::vector<uint8_t> mask(values.size(), 0);
            render(got.runs, mask.data());
            int64_t above = 0, below = 0, unsure = 0;
            for (std::size_t i = 0; i < values.size(); ++i) {
                if (std::abs(values[i]) > 1e-4) {
                    EXPECT_EQ(mask[i] != 0, values[i] > 0) << values[i];
                }
                above += values[i] > 1;
                below += values[i] > -1;
                unsure += std::abs(std::abs(values[i]) - 1) < 1e-4;
            }
            EXPECT_NEAR(static_cast<double>(got.result.above), static_cast<double>(above),
                        static_cast<double>(unsure));
            EXPECT_NEAR(static_cast<double>(got.result.below), static_cast<double>(below),
                        static_cast<double>(unsure));
        }
    }
}

TEST(MaskScan, ResultAgreesWithItsRuns) {
    for (const Shape& s : kShapes) {
        const ScanPlan plan = plan_of(s);
        for (int kind = 0; kind < 6; ++kind) {
            const Outcome o =
                run(logits_of(static_cast<Kind>(kind), s.low, static_cast<unsigned>(kind)), plan,
                    "auto");
            EXPECT_EQ(o.result.area, area(o.runs));
            const ImageBox box = inclusive_box(o.runs, s.crop);
            EXPECT_EQ(static_cast<double>(o.result.x0), box.x0);
            EXPECT_EQ(static_cast<double>(o.result.y0), box.y0);
            EXPECT_EQ(static_cast<double>(o.result.x1), box.x1);
            EXPECT_EQ(static_cast<double>(o.result.y1), box.y1);
            for (std::size_t i = 1; i < o.runs.size(); ++i)
                EXPECT_LT(o.runs[i - 1].end, o.runs[i].begin);
        }
    }
}

TEST(MaskScan, ScratchIsAFewRows) {
    const ScanPlan plan({256, 256}, 1024, {683, 1024}, {4000, 6000});
    const auto logits = logits_of(Kind::Blob, {256, 256}, 1);
    Arena arena;
    ScanResult result;
    scan(logits.data(), plan, 0.0F, 1.0F, result, nullptr, arena);
    EXPECT_GT(result.area, 0);
    EXPECT_LE(arena.capacity(), std::size_t{2} << 20);
}

TEST(MaskScan, NothingIsStableWhereNothingIs) {
    const ScanPlan plan({16, 16}, {40, 40});
    const std::vector<float> nan(256, std::nanf(""));
    for (const char* kernels : {"mask_scan=plain", "auto"}) {
        const Outcome o = run(nan, plan, kernels);
        EXPECT_EQ(o.result.area, 0);
        EXPECT_EQ(o.result.stability, 0.0F);
        EXPECT_TRUE(o.runs.empty());
    }
}

}  // namespace
}  // namespace segrid
