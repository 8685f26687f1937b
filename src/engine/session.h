// Follows objects through one video: prompts in any frame, then masks frame by frame. The caller
// encodes the frames and decides their order; a session holds none of them.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "core/arena.h"
#include "engine/prompt_masks.h"
#include "engine/segmenter.h"
#include "engine/track.h"

namespace segrid {

// The masks of all objects in one frame, in the order in which the objects were added.
struct SessionFrame {
    int64_t frame = 0;
    std::vector<int64_t> ids;
    MaskSet masks;       // at the video's size; empty masks for objects that are not found
    at::Tensor low_res;  // [objects, low_res] logits, holes filled; undefined for old frames
    Stats stats;
};

// How a prompt is read, and what it is decoded with.
struct PromptManner {
    bool replace = false;  // earlier clicks of the frame are dropped, else these are added to them
    // Points and boxes may lie outside the frame; see validate().
    bool anywhere = false;
    // The clicks count alone, as in transformers: the logits that were found in this frame before
    // are no hint, and a frame that was prompted before is decoded without memory again.
    bool anew = false;
    // The memory with which a frame that was followed is corrected: that of a run in this
    // direction. Empty: of the direction in which it was followed last.
    std::optional<bool> backwards;
};

// A mask that a user gives, as runs over `size`. It is resized into the model's square.
struct GivenMask {
    Size size;
    Runs runs;
};

// A session has one owner: no two threads may use it at once. Frames are numbered from 0. Every
// Embedding is one of the segmenter, of the frame that is named.
class Session {
public:
    // video_frames: the number of frames; it may grow, see set_video_frames. Throws Unsupported if
    // the model has no memory.
    Session(Segmenter segmenter, Size video, int64_t video_frames, const TrackingOptions& options);

    // For cameras and other videos whose length is not known: at least the frames so far.
    void set_video_frames(int64_t count) { video_frames_ = count; }
    int64_t video_frames() const { return video_frames_; }
    Size video() const { return frame_.image(); }
    const SegmentationModel& model() const { return segmenter_.model(); }
    std::vector<int64_t> ids() const;
    // The frames that the user prompted, or that were followed, in ascending order.
    std::vector<int64_t> prompted_frames() const;
    std::vector<int64_t> tracked_frames() const;

    // Clicks and a box for one object, new or known; a box must come before earlier clicks. The
    // masks of the frame result.
    SessionFrame add(int64_t id, int64_t frame, const Embedding& image, const Prompt& prompt,
                     const PromptManner& manner, const Schedule& schedule);
    // The mask itself. Of the manner, `anew` counts.
    SessionFrame add_mask(int64_t id, int64_t frame, const Embedding& image, const GivenMask& mask,
                          const PromptManner& manner, const Schedule& schedule);

    // Frames with new prompts whose memory is not encoded yet. Before the first track() of a run,
    // remember() each of them, then commit().
    std::vector<int64_t> unremembered() const;
    // Lets new prompts take part in memory. Throws Internal if one of them is not remembered.
    void commit();
    // Frames without memory that track(frame) looks at; and those that a prompt of the object in
    // this frame looks at.
    std::vector<int64_t> forgotten(int64_t frame, bool backwards);
    std::vector<int64_t> forgotten_by_prompt(int64_t id, int64_t frame,
                                             std::optional<bool> backwards);
    // Encodes what this frame lacks of memory.
    void remember(int64_t frame, const Embedding& image, const Schedule& schedule);

    // Follows all objects into this frame.
    SessionFrame track(int64_t frame, const Embedding& image, bool backwards,
                       const Schedule& schedule);
    // The masks that were found in this frame. Throws InvalidInput if there are none.
    SessionFrame masks(int64_t frame, const Schedule& schedule);

    // Removes the prompts of an object in one frame.
    void clear(int64_t id, int64_t frame);
    // Returns the frames in which the object was prompted. Throws InvalidInput for an unknown id.
    std::vector<int64_t> remove(int64_t id);
    void reset() { tracks_.clear(); }
    // Drops the prompts that no frame from this one on looks at: for a camera, which never goes
    // back.
    void drop_prompts(int64_t frame);

    const std::vector<Track>& tracks() const { return tracks_; }
    void restore(std::vector<Track> tracks) { tracks_ = std::move(tracks); }

private:
    // A copy of the object's track, or a track for a new object.
    Track copy_of(int64_t id) const;
    // Takes the changed copy of a track in place of the track, or as a new one, and gives what is
    // in the frame then. After an error the session is as it was.
    SessionFrame put(Track changed, int64_t frame, const Schedule& schedule);
    Track& known(int64_t id);
    void check_frame(int64_t frame) const;
    void add_forgotten(Track& track, int64_t frame, bool backwards,
                       std::set<int64_t>& frames) const;
    bool backwards_in(const Track& track, int64_t frame) const;
    std::map<int64_t, TrackedMask>& place_of_prompt(Track& track, bool first) const;
    // A frame with its part of memory attention, and what its objects share in the decoder.
    struct Sight {
        int64_t frame = 0;
        bool backwards = false;
        const Embedding& image;
        std::shared_ptr<const FrameContext> context;
        std::shared_ptr<const DecoderContext> decoder;
    };
    Sight sight_of(int64_t frame, bool backwards, const Embedding& image,
                   const Schedule& schedule) const;
    // The context in which the object's mask is decoded: the frame after attention to its
    // memory.
    std::shared_ptr<const DecoderContext> with_memory(Track& track, const Sight& sight,
                                                      const Schedule& schedule);
    // The mask of object `id` on a frame.
    TrackedMask decode(int64_t id, int64_t frame, const DecoderContext& context,
                       const ModelPrompt& prompt, bool multimask, const Schedule& schedule);
    void encode_memory(TrackedMask& mask, const Embedding& image, const Schedule& schedule);
    at::Tensor filled(const TrackedMask& mask, const Schedule& schedule) const;
    at::Tensor low_res_of(const at::Tensor& square, const Schedule& schedule) const;
    at::Tensor square_of(const GivenMask& mask, const Schedule& schedule) const;
    at::Tensor square_of(const TrackedMask& kept, const Schedule& schedule) const;
    ModelPrompt in_model(const Prompt& prompt) const;
    // The low-resolution logits of objects: kHidden for one without a mask (null), undefined where
    // the mask alone is kept.
    std::vector<at::Tensor> logits_of(const std::vector<TrackedMask*>& found,
                                      const Schedule& schedule) const;
    // The mask of one object at the video's size, of its logits if they are defined.
    Mask mask_of(const TrackedMask* found, const at::Tensor& logits, int64_t index,
                 const MaskScan& scan, Arena& arena) const;
    SessionFrame result(int64_t frame, const std::vector<TrackedMask*>& found,
                        const Schedule& schedule);
    SessionFrame result(int64_t frame, const Schedule& schedule);
    void trim(int64_t frame);
    void give_back();

    Segmenter segmenter_;
    const MemoryModel& memory_;
    FrameMap frame_;
    int64_t video_frames_;
    TrackingOptions options_;
    MemoryRules rules_;
    std::vector<Track> tracks_;  // in the order of their ids' first prompts
    Arena arena_;
    int64_t steps_ = 0;    // frames that were followed
    double usual_mb_ = 0;  // of the process, a step after it gave memory back; 0: not known yet
};

}  // namespace segrid
