// A session's prompts: they are decoded at once, and take part in memory after commit().
#include "engine/session.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "core/error.h"

namespace segrid {
namespace {

const MemoryModel& memory_of(const Segmenter& segmenter) {
    if (segmenter.model().memory() == nullptr) {
        fail(ErrorKind::Unsupported,
             "Tracker: this model has no memory of video; give one whose config.json has the "
             "model_type sam2_video (segrid convert writes it from original checkpoints of SAM 2)");
    }
    return *segmenter.model().memory();
}

ImageBox whole(Size size) {
    return {0, 0, static_cast<double>(size.width), static_cast<double>(size.height)};
}

// A box as the two corner points that SAM 2 was trained with, before the clicks.
void put_box_first(Prompt& prompt) {
    if (!prompt.box) return;
    const ImageBox& box = *prompt.box;
    prompt.points.insert(prompt.points.begin(), {{box.x0, box.y0}, {box.x1, box.y1}});
    prompt.labels.insert(prompt.labels.begin(), {2, 3});
    prompt.box.reset();
}

// Whether the prompt is decoded without memory: that of a frame that was not followed, and of an
// object whose prompts were all taken back, for which sam2 has no call.
bool is_first(const Track& track, int64_t frame, const PromptManner& manner) {
    return !track.visited.contains(frame) || track.conditioning.empty() ||
           (manner.anew && track.conditioning.contains(frame));
}

void check_points(int64_t id, int64_t frame, const Prompt& prompt) {
    if (prompt.points.size() <= kMaxPointsPerPrompt) return;
    invalid("add: object " + std::to_string(id) + " would have " +
            std::to_string(prompt.points.size()) + " points in frame " + std::to_string(frame) +
            "; at most " + std::to_string(kMaxPointsPerPrompt) +
            " are possible. replace=True drops the earlier ones");
}

}  // namespace

Session::Session(Segmenter segmenter, Size video, int64_t video_frames,
                 const TrackingOptions& options)
    : segmenter_(std::move(segmenter)),
      memory_(memory_of(segmenter_)),
      video_frames_(video_frames),
      options_(options) {
    options.check();
    check_size("session: the video", video);
    rules_ = options.rules(memory_.rules());
    frame_ = FrameMap(video, whole(video), segmenter_.model().preprocess());
}

std::vector<int64_t> Session::ids() const {
    std::vector<int64_t> ids;
    for (const Track& track : tracks_) ids.push_back(track.id);
    return ids;
}

std::vector<int64_t> Session::prompted_frames() const {
    std::set<int64_t> frames;
    for (const Track& track : tracks_) {
        for (const auto* masks :
             {&track.conditioning, &track.new_conditioning, &track.new_followed}) {
            for (const auto& [frame, mask] : *masks) frames.insert(frame);
        }
    }
    return {frames.begin(), frames.end()};
}

std::vector<int64_t> Session::tracked_frames() const {
    std::set<int64_t> frames;
    for (const Track& track : tracks_) {
        for (const auto& [frame, mask] : track.followed) frames.insert(frame);
        for (const auto& [frame, mask] : track.conditioning) frames.insert(frame);
    }
    return {frames.begin(), frames.end()};
}

Track Session::copy_of(int64_t id) const {
    for (const Track& track : tracks_) {
        if (track.id == id) return track;
    }
    if (static_cast<int64_t>(tracks_.size()) >= options_.max_objects) {
        invalid("session: at most " + std::to_string(options_.max_objects) +
                " objects (max_objects), and object " + std::to_string(id) + " is one more");
    }
    Track track;
    track.id = id;
    return track;
}

SessionFrame Session::put(Track changed, int64_t frame, const Schedule& schedule) {
    auto place = std::find_if(tracks_.begin(), tracks_.end(),
                              [&](const Track& track) { return track.id == changed.id; });
    const bool is_new = place == tracks_.end();
    if (is_new) place = tracks_.insert(place, Track{});
    std::swap(*place, changed);
    try {
        return result(frame, schedule);
    } catch (...) {
        if (is_new) tracks_.pop_back();
        else std::swap(*place, changed);
        throw;
    }
}

Track& Session::known(int64_t id) {
    for (Track& track : tracks_) {
        if (track.id == id) return track;
    }
    std::string all;
    for (const Track& track : tracks_) all += (all.empty() ? "" : ", ") + std::to_string(track.id);
    invalid("session: no object has the id " + std::to_string(id) + "; the objects are " +
            (all.empty() ? "none" : all));
}

void Session::check_frame(int64_t frame) const {
    if (frame < 0 || frame >= video_frames_) {
        invalid("frame: must be from 0 to " + std::to_string(video_frames_ - 1) + ", got " +
                std::to_string(frame));
    }
}

bool Session::backwards_in(const Track& track, int64_t frame) const {
    const auto visit = track.visited.find(frame);
    return visit != track.visited.end() && visit->second;
}

// Where the mask of a prompt belongs. A frame that was followed before (it is not the `first` time)
// is corrected, which makes it a conditioning frame only if the options say so.
std::map<int64_t, TrackedMask>& Session::place_of_prompt(Track& track, bool first) const {
    return first || options_.corrections_condition ? track.new_conditioning : track.new_followed;
}

ModelPrompt Session::in_model(const Prompt& prompt) const {
    ModelPrompt out;
    out.points_given = true;
    out.labels = prompt.labels;
    for (const ImagePoint& p : prompt.points) out.points.push_back(frame_.to_model(p));
    if (out.points.empty()) {  // sam2 gives one point that is none, and pads it with another
        out.points.push_back({});
        out.labels.push_back(-1);
    }
    return out;
}

SessionFrame Session::add(int64_t id, int64_t frame, const Embedding& image, const Prompt& given,
                          const PromptManner& manner, const Schedule& asked) {
    const Schedule schedule = segmenter_.capped(asked);
    segmenter_.check_embedding(image);
    check_frame(frame);
    validate({given}, video(), manner.anywhere);
    Track track = copy_of(id);
    Prompt prompt;
    if (!manner.replace && track.prompts.contains(frame)) prompt = track.prompts.at(frame);
    if (given.box && !prompt.points.empty()) {
        invalid("add: object " + std::to_string(id) + " has clicks in frame " +
                std::to_string(frame) +
                " already, and a box must come before them; replace=True drops them");
    }
    Prompt added = given;
    put_box_first(added);
    prompt.points.insert(prompt.points.end(), added.points.begin(), added.points.end());
    prompt.labels.insert(prompt.labels.end(), added.labels.begin(), added.labels.end());
    prompt.points_given = true;
    check_points(id, frame, prompt);

    const bool first = is_first(track, frame, manner);
    auto& place = place_of_prompt(track, first);
    ModelPrompt in_frame = in_model(prompt);
    at::Tensor hint;  // what was found here before, whoever found it
    const TrackedMask* before = nullptr;
    for (const auto* masks : {&place, &track.conditioning, &track.followed}) {
        const auto found = masks->find(frame);
        if (before == nullptr && found != masks->end()) before = &found->second;
    }
    if (before != nullptr && !manner.anew) {
        const at::Tensor logits = filled(*before, schedule);
        run_in_worker(schedule, [&] { hint = logits.clamp(-kHintLimit, kHintLimit); });
        in_frame.mask_hint = hint.const_data_ptr<float>();
    }
    const auto points = static_cast<int64_t>(prompt.points.size());
    const bool multimask = rules_.multimask && (first || rules_.multimask_in_tracking) &&
                           points >= rules_.min_points && points <= rules_.max_points;
    const Embedding here = segmenter_.prepared(image, schedule);
    const bool backwards = manner.backwards.value_or(backwards_in(track, frame));
    TrackedMask mask =
        first ? decode(id, frame, *here.context, in_frame, multimask, schedule)
              : decode(id, frame,
                       *with_memory(track, sight_of(frame, backwards, here, schedule), schedule),
                       in_frame, multimask, schedule);
    mask.prompted = true;
    place.insert_or_assign(frame, std::move(mask));
    track.prompts[frame] = prompt;
    return put(std::move(track), frame, schedule);
}

SessionFrame Session::add_mask(int64_t id, int64_t frame, const Embedding& image,
                               const GivenMask& given, const PromptManner& manner,
                               const Schedule& asked) {
    const Schedule schedule = segmenter_.capped(asked);
    segmenter_.check_embedding(image);
    check_frame(frame);
    Track track = copy_of(id);
    const Embedding here = segmenter_.readable(image);
    const at::Tensor square = square_of(given, schedule);
    at::Tensor hint = memory_.hint_of(square, schedule);
    if (!hint.is_cpu()) run_on_devices(schedule, [&] { hint = hint.to(at::kCPU); });
    ModelPrompt prompt = in_model({});
    prompt.mask_hint = hint.const_data_ptr<float>();
    // As in sam2, the frame's own features, without the embedding that stands for "no memory".
    TrackedMask mask =
        decode(id, frame, *segmenter_.model().prepare_single(here.features, nullptr, schedule),
               prompt, false, schedule);
    bool present = false;  // a few pixels of a large mask may be none in the square
    run_in_worker(schedule, [&] { present = square.any().item<bool>(); });
    mask.logits = low_res_of(square, schedule);
    // The user says whether the object is there, not the decoder. An object that the decoder does
    // not see keeps the pointer of hidden ones, as in sam2.
    if (!present) mask.pointer = memory_.pointer({}, false, schedule);
    mask.score = present ? 10.0F : -10.0F;
    mask.iou = 1;
    mask.prompted = true;
    place_of_prompt(track, is_first(track, frame, manner)).insert_or_assign(frame, std::move(mask));
    track.prompts.erase(frame);
    return put(std::move(track), frame, schedule);
}

void Session::clear(int64_t id, int64_t frame) {
    check_frame(frame);
    known(id).clear(frame);
}

std::vector<int64_t> Session::remove(int64_t id) {
    Track& track = known(id);
    std::set<int64_t> frames;
    for (const auto* masks : {&track.conditioning, &track.new_conditioning, &track.new_followed}) {
        for (const auto& [frame, mask] : *masks) frames.insert(frame);
    }
    tracks_.erase(tracks_.begin() + (&track - tracks_.data()));
    return {frames.begin(), frames.end()};
}

}  // namespace segrid
