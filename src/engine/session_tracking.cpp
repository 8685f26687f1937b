// A session's memory: what is looked back at, decoded in its light, and remembered.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/trace.h"
#include "engine/session.h"
#include "masks/regions.h"

namespace segrid {
namespace {

constexpr float kFilledHole = 0.1F;
constexpr int64_t kStepsBetweenReturns = 32;
constexpr double kGrowthMb = 64;

at::Tensor resized(const at::Tensor& plane, int64_t height, int64_t width) {
    return at::upsample_bilinear2d(plane.unsqueeze(0).unsqueeze(0), {height, width}, false)
        .squeeze(0)
        .squeeze(0);
}

}  // namespace

Session::Sight Session::sight_of(int64_t frame, bool backwards, const Embedding& image,
                                 const Schedule& schedule) const {
    const Span span("memory attention");
    return {frame, backwards, image, memory_.look(image.features.front(), schedule),
            segmenter_.model().prepare_single(image.features, nullptr, schedule)};
}

std::shared_ptr<const DecoderContext> Session::with_memory(Track& track, const Sight& sight,
                                                           const Schedule& schedule) {
    const Span span("memory attention");
    const Look look =
        track.look(sight.frame, sight.backwards, rules_, options_.memory_stride, video_frames_);
    if (look.memories.empty()) {
        invalid("session: object " + std::to_string(track.id) +
                " has no prompt any more; add one or remove the object");
    }
    std::vector<RememberedFrame> frames;
    for (const Look::Seen& seen : look.memories) {
        if (!seen.mask->memory.defined())
            fail(ErrorKind::Internal, "session: frame " + std::to_string(seen.frame) +
                                          " is looked at, but is not remembered");
        frames.push_back({seen.mask->memory, seen.age});
    }
    std::vector<RememberedPointer> pointers;
    for (const Look::Seen& seen : look.pointers) {
        pointers.push_back({seen.mask->pointer, static_cast<double>(seen.age) /
                                                    static_cast<double>(look.oldest_pointer)});
    }
    Features features = sight.image.features;
    features.front() = memory_.attend(*sight.context, frames, pointers, schedule);
    return segmenter_.model().prepare_single(features, sight.decoder.get(), schedule);
}

TrackedMask Session::decode(int64_t id, int64_t frame, const DecoderContext& context,
                            const ModelPrompt& prompt, bool multimask, const Schedule& asked) {
    const Span span("decode");
    Schedule schedule = asked;
    schedule.share = true;
    const Arena::Lifetime lifetime(arena_);
    const SegmentationModel& model = segmenter_.model();
    const std::vector<DecodedMask> masks = model.decode(
        context, prompt, {.multimask = multimask, .object_score = true, .tokens = true}, schedule,
        arena_);
    const DecodedMask& best =
        *std::max_element(masks.begin(), masks.end(),
                          [](const DecodedMask& a, const DecodedMask& b) { return a.iou < b.iou; });
    if (!std::isfinite(best.object_score) || !std::isfinite(best.iou)) {
        fail(ErrorKind::Internal,
             "session: frame " + std::to_string(frame) + ", object " + std::to_string(id) +
                 ": the model gave a mask whose score is not a finite number; its weights or its "
                 "precision overflow");
    }
    const Size low = model.low_res();
    const auto channels = model.feature_shapes().front().channels;
    TrackedMask found;
    found.iou = best.iou;
    found.score = best.object_score;
    at::Tensor token;
    run_in_worker(schedule, [&] {
        found.logits = at::empty({low.height, low.width});
        if (found.appears())
            std::copy_n(best.logits, low.area(), found.logits.mutable_data_ptr<float>());
        else found.logits.fill_(kHidden);
        token = at::empty({channels});
        std::copy_n(best.token, channels, token.mutable_data_ptr<float>());
    });
    found.pointer = memory_.pointer(token, found.appears(), schedule);
    return found;
}

// The low-res logits with small holes filled, in fp32. If only the mask was kept, they are -10 and
// 10, as those of a mask that the user gave.
at::Tensor Session::filled(const TrackedMask& mask, const Schedule& schedule) const {
    if (!mask.logits.defined()) return low_res_of(square_of(mask, schedule), schedule);
    at::Tensor logits;
    run_in_worker(schedule, [&] {
        logits = mask.logits.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
        if (options_.max_hole_area > 0) {
            fill_small_regions(logits.mutable_data_ptr<float>(), segmenter_.model().low_res(),
                               {.max_hole_area = options_.max_hole_area, .margin = kFilledHole});
        }
    });
    return logits;
}

// A mask in the model's square, 0 and 1, as sam2 resizes one that a user gives.
at::Tensor Session::square_of(const GivenMask& mask, const Schedule& schedule) const {
    const int64_t side = frame_.side();
    at::Tensor square;
    run_in_worker(schedule, [&] {
        const at::Tensor bytes = at::zeros({mask.size.height, mask.size.width}, at::kByte);
        render(mask.runs, bytes.mutable_data_ptr<uint8_t>());
        const at::Tensor plane = bytes.to(at::kFloat).unsqueeze(0).unsqueeze(0);
        square = mask.size == Size{side, side}
                     ? plane
                     : (at::_upsample_bilinear2d_aa(plane, {side, side}, false, {}, {}) >= 0.5)
                           .to(at::kFloat);
        square = square.squeeze(0).squeeze(0);
    });
    return square;
}

// The mask that is kept of a frame whose logits were dropped.
at::Tensor Session::square_of(const TrackedMask& kept, const Schedule& schedule) const {
    return square_of(GivenMask{video(), from_coco_counts(decompress(kept.counts), video())},
                     schedule);
}

// The logits of a mask in the model's square, as in sam2.
at::Tensor Session::low_res_of(const at::Tensor& square, const Schedule& schedule) const {
    const Size low = segmenter_.model().low_res();
    at::Tensor logits;
    run_in_worker(schedule, [&] {
        logits = at::_upsample_bilinear2d_aa((square * 20 - 10).unsqueeze(0).unsqueeze(0),
                                             {low.height, low.width}, false, {}, {})
                     .squeeze(0)
                     .squeeze(0);
    });
    return logits;
}

void Session::encode_memory(TrackedMask& mask, const Embedding& image, const Schedule& schedule) {
    const Span span("memory encoder");
    at::Tensor square;
    if (mask.logits.defined()) {
        // sam2 encodes the mask of a prompt after its holes were filled, that of a followed object
        // before.
        const at::Tensor logits = mask.prompted ? filled(mask, schedule) : mask.logits;
        run_in_worker(schedule, [&] {
            square = resized(logits.to(at::kFloat), frame_.side(), frame_.side());
        });
    } else {
        const at::Tensor kept = square_of(mask, schedule);
        run_in_worker(schedule, [&] { square = kept * 20 - 10; });
    }
    mask.memory =
        memory_.encode(image.features.front(), square,
                       {.from_prompt = mask.prompted, .appears = mask.appears()}, schedule);
}

std::vector<int64_t> Session::unremembered() const {
    std::set<int64_t> frames;
    for (const Track& track : tracks_) {
        for (const auto* masks : {&track.new_conditioning, &track.new_followed}) {
            for (const auto& [frame, mask] : *masks) {
                if (!mask.memory.defined()) frames.insert(frame);
            }
        }
    }
    return {frames.begin(), frames.end()};
}

std::vector<int64_t> Session::forgotten(int64_t frame, bool backwards) {
    std::set<int64_t> frames;
    for (Track& track : tracks_) {
        if (!track.conditioning.contains(frame)) add_forgotten(track, frame, backwards, frames);
    }
    return {frames.begin(), frames.end()};
}

std::vector<int64_t> Session::forgotten_by_prompt(int64_t id, int64_t frame,
                                                  std::optional<bool> backwards) {
    std::set<int64_t> frames;
    for (Track& track : tracks_) {
        if (track.id == id && track.visited.contains(frame))
            add_forgotten(track, frame, backwards.value_or(backwards_in(track, frame)), frames);
    }
    return {frames.begin(), frames.end()};
}

void Session::add_forgotten(Track& track, int64_t frame, bool backwards,
                            std::set<int64_t>& frames) const {
    const Look look = track.look(frame, backwards, rules_, options_.memory_stride, video_frames_);
    for (const Look::Seen& seen : look.memories) {
        if (!seen.mask->memory.defined()) frames.insert(seen.frame);
    }
}

void Session::remember(int64_t frame, const Embedding& image, const Schedule& asked) {
    const Schedule schedule = segmenter_.capped(asked);
    segmenter_.check_embedding(image);
    const Embedding here = segmenter_.readable(image);
    for (Track& track : tracks_) {
        for (auto* masks :
             {&track.new_conditioning, &track.new_followed, &track.conditioning, &track.followed}) {
            const auto found = masks->find(frame);
            if (found != masks->end() && !found->second.memory.defined())
                encode_memory(found->second, here, schedule);
        }
    }
}

void Session::commit() {
    if (tracks_.empty()) invalid("propagate: no object has a prompt yet; add one first");
    const int64_t reach = options_.memory_stride * rules_.frames;
    for (Track& track : tracks_) {
        for (const auto* prompted : {&track.new_followed, &track.new_conditioning}) {
            for (const auto& [frame, mask] : *prompted) {
                if (!mask.memory.defined())
                    fail(ErrorKind::Internal, "session: a prompted frame is not remembered");
                if (options_.forget_near_prompts) track.forget(frame - reach, frame + reach);
            }
        }
        for (auto [from, to] : {std::pair{&track.new_followed, &track.followed},
                                std::pair{&track.new_conditioning, &track.conditioning}}) {
            for (auto& [frame, mask] : *from) to->insert_or_assign(frame, std::move(mask));
            from->clear();
        }
        if (track.conditioning.empty()) {
            invalid("propagate: object " + std::to_string(track.id) +
                    " has no prompt; add one or remove the object");
        }
        for (const auto& [frame, mask] : track.conditioning) track.followed.erase(frame);
    }
}

SessionFrame Session::track(int64_t frame, const Embedding& image, bool backwards,
                            const Schedule& asked) {
    const Schedule schedule = segmenter_.capped(asked);
    segmenter_.check_embedding(image);
    check_frame(frame);
    const Stopwatch watch;
    const Embedding here = segmenter_.readable(image);
    const int64_t reach = options_.memory_stride * rules_.frames;
    std::vector<TrackedMask> followed(tracks_.size());  // of the objects without a prompt here
    std::vector<TrackedMask*> found;
    std::optional<Sight> sight;
    for (Track& track : tracks_) {
        const auto prompted = track.conditioning.find(frame);
        if (prompted != track.conditioning.end()) {
            found.push_back(&prompted->second);
            continue;
        }
        if (!sight) sight.emplace(sight_of(frame, backwards, here, schedule));
        const auto context = with_memory(track, *sight, schedule);
        const bool multimask =
            rules_.multimask && rules_.multimask_in_tracking && rules_.min_points == 0;
        TrackedMask& mask = followed[found.size()];
        mask = decode(track.id, frame, *context, in_model({}), multimask, schedule);
        encode_memory(mask, here, schedule);
        found.push_back(&mask);
    }
    SessionFrame masks = result(frame, found, schedule);
    for (std::size_t i = 0; i < found.size(); ++i)
        found[i]->counts = compress(coco_counts(masks.masks.masks()[i].runs, video()));
    // Only now: a step that is cancelled or fails leaves no object that was followed here alone.
    for (std::size_t i = 0; i < found.size(); ++i) {
        Track& track = tracks_[i];
        track.visited[frame] = backwards;
        if (found[i] == &followed[i])
            track.followed.insert_or_assign(frame, std::move(followed[i]));
        else if (options_.forget_near_prompts) track.forget(frame - reach, frame + reach);
    }
    trim(frame);
    give_back();
    masks.stats.add("track", watch.seconds());
    masks.stats.peak_memory_mb = peak_resident_mb();
    return masks;
}

// What is kept of each frame is small and lies between large blocks that are free again: unless
// free pages are given back, the heap grows with the number of frames. While the memory fills,
// each frame needs larger blocks than the one before, so pages are given back after every frame.
// Later they are given back every kStepsBetweenReturns frames, and when the process has grown.
void Session::give_back() {
    const double now = resident_mb();
    const bool grown = usual_mb_ > 0 && now > usual_mb_ + kGrowthMb;
    if (++steps_ <= 2 * rules_.frames || steps_ % kStepsBetweenReturns == 0 || grown) {
        give_back_memory();
        usual_mb_ = 0;
    } else if (usual_mb_ == 0) {
        usual_mb_ = now;
    }
}

// Drops what frames beyond the reach of this one hold of memory, so that a session stays small.
void Session::trim(int64_t frame) {
    const int64_t reach = options_.memory_stride * rules_.frames;
    for (Track& track : tracks_) {
        for (auto it = track.followed.begin(); it != track.followed.end();) {
            const int64_t distance = std::abs(it->first - frame);
            TrackedMask& mask = it->second;
            if (distance > reach && mask.memory.defined()) {
                mask.memory.reset();
                if (mask.logits.defined() && mask.logits.scalar_type() == at::kFloat)
                    run_in_worker({}, [&] { mask.logits = mask.logits.to(at::kHalf); });
            }
            if (distance > std::max(reach, options_.history) && !mask.counts.empty())
                mask.logits.reset();
            const bool drop = !options_.keep_masks && distance > std::max(reach, rules_.pointers);
            if (drop) {
                track.prompts.erase(it->first);
                track.visited.erase(it->first);
            }
            it = drop ? track.followed.erase(it) : std::next(it);
        }
    }
}

void Session::drop_prompts(int64_t frame) {
    const int64_t reach = std::max(options_.memory_stride * rules_.frames, rules_.pointers);
    for (Track& track : tracks_) track.drop_prompts(frame - reach, frame, rules_);
}

}  // namespace segrid
