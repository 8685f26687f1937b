#include "engine/track.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <set>

#include "core/error.h"

namespace segrid {
namespace {

// The largest number that an option may have: far from where numbers of frames overflow, and more
// frames than any video has.
constexpr int64_t kMostFrames = int64_t{1} << 40;

// Up to `most` of the prompted frames, the nearest: first the nearest one before `frame`, then the
// nearest one that is not before it, then any. 0: all.
std::set<int64_t> nearest(const std::map<int64_t, TrackedMask>& prompted, int64_t frame,
                          int64_t most) {
    std::vector<int64_t> rest;
    for (const auto& [t, mask] : prompted) rest.push_back(t);
    if (most == 0 || static_cast<int64_t>(rest.size()) <= most) return {rest.begin(), rest.end()};
    std::set<int64_t> chosen;
    const auto after = prompted.lower_bound(frame);
    if (after != prompted.begin()) chosen.insert(std::prev(after)->first);
    if (after != prompted.end()) chosen.insert(after->first);
    std::stable_sort(rest.begin(), rest.end(), [&](int64_t a, int64_t b) {
        return std::abs(a - frame) < std::abs(b - frame);
    });
    for (const int64_t t : rest) {
        if (static_cast<int64_t>(chosen.size()) >= most) break;
        chosen.insert(t);
    }
    return chosen;
}

TrackedMask* at(std::map<int64_t, TrackedMask>& masks, int64_t frame) {
    const auto found = masks.find(frame);
    return found == masks.end() ? nullptr : &found->second;
}

// The frame that is remembered with this age: every stride-th frame, and the last one.
int64_t frame_of_age(int64_t frame, int64_t age, bool backwards, int64_t stride) {
    if (age == 1) return backwards ? frame + 1 : frame - 1;
    // Frames may be negative here: both divisions round towards the frame's past.
    const auto floor_div = [](int64_t a, int64_t b) {
        return a >= 0 ? a / b : -((-a + b - 1) / b);
    };
    if (!backwards) return floor_div(frame - 2, stride) * stride - (age - 2) * stride;
    return -floor_div(-(frame + 2), stride) * stride + (age - 2) * stride;
}

}  // namespace

void TrackingOptions::check() const {
    const auto in_range = [](const char* name, int64_t least, int64_t got) {
        if (got < least || got > kMostFrames) {
            invalid(std::string(name) + ": must be at least " + std::to_string(least) +
                    " and at most " + std::to_string(kMostFrames) + ", got " + std::to_string(got));
        }
    };
    in_range("memory_frames", 1, memory_frames.value_or(1));
    in_range("conditioning_frames", 0, conditioning_frames.value_or(0));
    if (conditioning_frames == 1)
        invalid("conditioning_frames: must be 0 (all) or at least 2, got 1");
    in_range("pointers", 1, pointers.value_or(1));
    in_range("memory_stride", 1, memory_stride);
    in_range("max_hole_area", 0, max_hole_area);
    in_range("history", 0, history);
    in_range("max_objects", 1, max_objects);
}

MemoryRules TrackingOptions::rules(const MemoryRules& model) const {
    MemoryRules rules = model;
    if (memory_frames && *memory_frames > model.frames) {
        invalid("memory_frames: this model has learned " + std::to_string(model.frames) +
                " frames, got " + std::to_string(*memory_frames));
    }
    rules.frames = memory_frames.value_or(model.frames);
    rules.conditioning = conditioning_frames.value_or(model.conditioning);
    rules.pointers = pointers.value_or(model.pointers);
    return rules;
}

TrackedMask* Track::find(int64_t frame) {
    for (auto* masks : {&new_conditioning, &new_followed, &conditioning, &followed}) {
        if (TrackedMask* mask = at(*masks, frame)) return mask;
    }
    return nullptr;
}

std::pair<int64_t, int64_t> Track::found_between() const {
    std::pair<int64_t, int64_t> ends{std::numeric_limits<int64_t>::max(), -1};
    for (const auto* masks : {&conditioning, &followed}) {
        if (masks->empty()) continue;
        ends.first = std::min(ends.first, masks->begin()->first);
        ends.second = std::max(ends.second, masks->rbegin()->first);
    }
    return ends;
}

Look Track::look(int64_t frame, bool backwards, const MemoryRules& rules, int64_t stride,
                 int64_t video_frames) {
    const std::set<int64_t> chosen = nearest(conditioning, frame, rules.conditioning);
    // A prompted frame that was not chosen counts as one that was followed.
    const auto earlier = [&](int64_t t) {
        TrackedMask* mask = at(followed, t);
        return mask != nullptr || chosen.contains(t) ? mask : at(conditioning, t);
    };
    Look look;
    for (const int64_t t : chosen) look.memories.push_back({t, 0, &conditioning.at(t)});
    for (int64_t age = rules.frames - 1; age >= 1; --age) {
        const int64_t t = frame_of_age(frame, age, backwards, stride);
        if (TrackedMask* mask = earlier(t)) look.memories.push_back({t, age, mask});
    }
    const int64_t most = std::min(video_frames, rules.pointers);
    look.oldest_pointer = std::max<int64_t>(1, most - 1);
    for (const int64_t t : chosen) {
        if (backwards ? t >= frame : t <= frame)
            look.pointers.push_back({t, std::abs(frame - t), &conditioning.at(t)});
    }
    const auto [first, last] = found_between();
    for (int64_t age = 1; age < most; ++age) {
        const int64_t t = backwards ? frame + age : frame - age;
        if (backwards ? t > last : t < first) break;
        if (TrackedMask* mask = earlier(t)) look.pointers.push_back({t, age, mask});
    }
    return look;
}

void Track::clear(int64_t frame) {
    prompts.erase(frame);
    new_conditioning.erase(frame);
    new_followed.erase(frame);
    auto prompted = conditioning.extract(frame);
    if (prompted.empty()) return;
    followed.insert_or_assign(frame, std::move(prompted.mapped()));
    visited.erase(frame);
}

void Track::drop_prompts(int64_t reached, int64_t frame, const MemoryRules& rules) {
    // The nearest of those behind a frame stay the nearest of them for all later frames.
    const std::set<int64_t> chosen = nearest(conditioning, frame, rules.conditioning);
    std::erase_if(conditioning, [&](const auto& mask) {
        const int64_t t = mask.first;
        const bool drop = t < reached && !chosen.contains(t);
        if (drop) {
            prompts.erase(t);
            visited.erase(t);
        }
        return drop;
    });
}

void Track::forget(int64_t first, int64_t last) {
    followed.erase(followed.lower_bound(first), followed.upper_bound(last));
}

}  // namespace segrid
