// The track of one object through a video: what was found of it in each frame, and the frames that
// a later one looks back at. The rules are those of sam2's SAM2VideoPredictor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/tracking.h"
#include "prompts/prompts.h"

namespace segrid {

// Settings of a session. An empty one has the value of the model's config.
struct TrackingOptions {
    // The frames that are attended to, if one of them was prompted: sam2's num_maskmem.
    std::optional<int64_t> memory_frames;
    // The most prompted frames that are attended to, 0 for all: max_cond_frames_in_attn.
    std::optional<int64_t> conditioning_frames;
    std::optional<int64_t> pointers;  // max_obj_ptrs_in_encoder
    int64_t memory_stride = 1;        // memory_temporal_stride_for_eval
    int64_t max_hole_area = 8;        // fill_hole_area, in pixels of the low-res logits
    bool non_overlap = false;         // non_overlap_masks
    // Whether a correction of a frame that was tracked is a conditioning frame from then on:
    // add_all_frames_to_correct_as_cond.
    bool corrections_condition = false;
    // Whether prompts drop the memory of frames near them: clear_non_cond_mem_around_input.
    bool forget_near_prompts = false;
    // For how many frames logits are kept, which allows to encode memory again as it was. Of older
    // frames the mask is kept. segrid's own.
    int64_t history = 100;
    bool keep_masks = true;  // false: frames that no later one looks at are dropped. segrid's own.
    int64_t max_objects = 256;  // segrid's own

    // Throws InvalidInput naming the option and the value.
    void check() const;
    // The model's rules with the options that are given.
    MemoryRules rules(const MemoryRules& model) const;
};

// The logits of an object that is not in the frame, as in sam2.
inline constexpr float kHidden = -1024;

// One object in one frame.
struct TrackedMask {
    at::Tensor logits;   // [low_res] on the CPU, in fp32 or fp16; undefined for old frames
    at::Tensor memory;   // as MemoryModel::encode gives; undefined while it is not needed
    at::Tensor pointer;  // as MemoryModel::pointer gives
    float score = 0;     // the logit that the object is in the frame
    float iou = 0;       // predicted
    bool prompted = false;
    std::string counts;  // the mask at the video's size in COCO's compressed form; may be empty
    bool appears() const { return score > 0; }
};

// The frames that are looked at, with their ages (see RememberedFrame).
struct Look {
    struct Seen {
        int64_t frame = 0;
        int64_t age = 0;
        TrackedMask* mask = nullptr;
    };
    std::vector<Seen> memories, pointers;
    int64_t oldest_pointer = 1;  // the age that counts as 1
};

struct Track {
    int64_t id = 0;
    // What was found in each frame: where the user prompted, and where the object was followed.
    std::map<int64_t, TrackedMask> conditioning, followed;
    // The masks of prompts since the object was last followed. They take no part in memory yet.
    std::map<int64_t, TrackedMask> new_conditioning, new_followed;
    std::map<int64_t, bool> visited;    // frames that were followed, and whether backwards
    std::map<int64_t, Prompt> prompts;  // the clicks of each frame, in image pixels

    // The mask in this frame that was found last; null if there is none.
    TrackedMask* find(int64_t frame);
    // The earlier frames that `frame` attends to; they may lack memory. video_frames: the length
    // of the video.
    Look look(int64_t frame, bool backwards, const MemoryRules& rules, int64_t stride,
              int64_t video_frames);
    // Removes the frame's prompts. Its mask stays as one that was followed.
    void clear(int64_t frame);
    // Drops the prompts before frame `reached` that no frame from `frame` on looks at. With
    // rules.conditioning 0 every frame looks at all of them.
    void drop_prompts(int64_t reached, int64_t frame, const MemoryRules& rules);
    // Removes what was followed from `first` to `last`.
    void forget(int64_t first, int64_t last);

private:
    // The first and the last frame in `conditioning` and `followed`; last < first if there is none.
    std::pair<int64_t, int64_t> found_between() const;
};

}  // namespace segrid
