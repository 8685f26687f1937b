// The one way from a prompt to a mask: into the model's frame, decode, fill small regions, scan,
// make the Mask. Predict, everything mode and video go this way, on workers (PromptMasks) or by
// the batch on a device (PromptMaskBatches). Both keep references to the model and the image.
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

// How logits become a mask.
struct MaskRules {
    float threshold = 0;         // pixels whose logit is above it belong to the mask
    float stability_offset = 1;  // around the threshold, see ScanResult
    // Pixels of the low-res logits, see fill_small_regions; 0 is off. The logits of a DecodedMask
    // stay as they were decoded.
    int64_t max_hole_area = 0, max_sprinkle_area = 0;
};

// Where a mask comes from.
struct MaskOrigin {
    int64_t prompt = 0;  // its index in the call
    ImagePoint point;    // its first point; NaN where it has none
};
MaskOrigin origin_of(const Prompt& prompt, int64_t index);

// Inside a worker.
class PromptMasks {
public:
    PromptMasks(const SegmentationModel& model, const Embedding& image, const MaskRules& rules);

    // As SegmentationModel::decode: the logits lie in the arena.
    std::vector<DecodedMask> decode(const Prompt& prompt, const DecodeRequest& request,
                                    const Schedule& schedule, Arena& arena) const;
    // sam2's one step of refinement: each mask is decoded once more with its own logits as hint.
    void refine(const Prompt& prompt, std::vector<DecodedMask>& masks, const Schedule& schedule,
                Arena& arena) const;
    // The mask without its runs, which replace those in `runs`.
    Mask scan(const DecodedMask& decoded, const MaskOrigin& origin, Runs& runs, Arena& arena) const;

private:
    const SegmentationModel& model_;
    const Embedding& image_;
    MaskRules rules_;
    ScanPlan plan_;
};

// On the thread of devices.
class PromptMaskBatches {
public:
    PromptMaskBatches(const SegmentationModel& model, const Embedding& image,
                      const MaskRules& rules);

    DecodedBatch decode(const std::vector<Prompt>& prompts, const DecodeRequest& request) const;
    // As PromptMasks::refine. The batch must hold the masks of these prompts.
    void refine(const std::vector<Prompt>& prompts, DecodedBatch& batch) const;

    struct Scanned {
        std::vector<Mask> masks;  // of the batch, without their runs
        BatchScan::Found found;   // the runs of those that were wanted
    };
    // origins: of the batch's prompts. bytes: about what may be used besides logits and runs.
    // wanted: whether the runs of the batch's mask i are.
    Scanned scan(const DecodedBatch& batch, const std::vector<MaskOrigin>& origins, int64_t bytes,
                 const std::function<bool(std::size_t i, const Mask& mask)>& wanted) const;

private:
    const SegmentationModel& model_;
    const Embedding& image_;
    MaskRules rules_;
    BatchScan scan_;
};

}  // namespace segrid
