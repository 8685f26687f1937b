// The one way from a prompt to a mask: convert it to the model's frame, decode, fill small regions,
// scan, make the Mask. Predict and everything mode use it, on workers (PromptMasks) or in batches
// on a device (PromptMaskBatches). Both classes keep references to the model and the image, which
// must outlive them.
#pragma once

#include <functional>
#include <vector>

#include "engine/embedding.h"
#include "kernels/mask_scan/batch.h"
#include "kernels/mask_scan/op.h"
#include "masks/mask_set.h"
#include "models/segmentation.h"
#include "prompts/prompts.h"

namespace segrid {

// A mask's own logits are clamped to this range before they become a hint, as in sam2.
inline constexpr float kHintLimit = 32;

// How logits become a mask.
struct MaskRules {
    float threshold = 0;         // pixels whose logit is above it belong to the mask
    float stability_offset = 1;  // around the threshold, see ScanResult
    // In pixels of the low-res logits, see fill_small_regions; 0 is off. The logits of a
    // DecodedMask are not changed.
    int64_t max_hole_area = 0, max_sprinkle_area = 0;
};

// The prompt that a mask comes from.
struct MaskOrigin {
    int64_t prompt = 0;  // its index in the call
    ImagePoint point;    // its first point; NaN if it has none
};
MaskOrigin origin_of(const Prompt& prompt, int64_t index);

// From logits to a mask of one frame. Immutable.
class MaskScan {
public:
    MaskScan(const SegmentationModel& model, const FrameMap& frame, const MaskRules& rules);

    // Returns the mask without runs and writes them to `runs`, in place of those it held.
    Mask operator()(const DecodedMask& decoded, const MaskOrigin& origin, Runs& runs,
                    Arena& arena) const;
    const ScanPlan& plan() const { return plan_; }

private:
    Size low_res_;
    FrameMap frame_;
    MaskRules rules_;
    ScanPlan plan_;
};

// To be used inside workers; any number of them may share one.
class PromptMasks {
public:
    PromptMasks(const SegmentationModel& model, const Embedding& image, const MaskRules& rules);

    // See SegmentationModel::decode. The logits lie in the arena.
    std::vector<DecodedMask> decode(const Prompt& prompt, const DecodeRequest& request,
                                    const Schedule& schedule, Arena& arena) const;
    // One step of refinement, as in sam2: each mask is decoded once more with its own logits as
    // hint.
    void refine(const Prompt& prompt, std::vector<DecodedMask>& masks, const Schedule& schedule,
                Arena& arena) const;
    // See MaskScan.
    Mask scan(const DecodedMask& decoded, const MaskOrigin& origin, Runs& runs,
              Arena& arena) const {
        return scan_(decoded, origin, runs, arena);
    }

private:
    const SegmentationModel& model_;
    const Embedding& image_;
    MaskScan scan_;
};

// To be used on the device thread.
class PromptMaskBatches {
public:
    PromptMaskBatches(const SegmentationModel& model, const Embedding& image,
                      const MaskRules& rules);

    DecodedBatch decode(const std::vector<Prompt>& prompts, const DecodeRequest& request) const;
    // See PromptMasks::refine. All masks of the batch must belong to these prompts.
    void refine(const std::vector<Prompt>& prompts, DecodedBatch& batch) const;

    struct Scanned {
        std::vector<Mask> masks;  // the batch's masks, without their runs
        BatchScan::Found found;   // the runs of the wanted masks
    };
    // origins: of the batch's prompts. bytes: the memory to use, roughly, in addition to logits and
    // runs. wanted: tells whether the runs of the batch's mask i are wanted.
    Scanned scan(const DecodedBatch& batch, const std::vector<MaskOrigin>& origins, int64_t bytes,
                 const std::function<bool(std::size_t i, const Mask& mask)>& wanted) const;

private:
    const SegmentationModel& model_;
    const Embedding& image_;
    MaskRules rules_;
    BatchScan scan_;
};

}  // namespace segrid
