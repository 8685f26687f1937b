// Segment everything: decodes a grid of points over an image and its crops in parallel, filters the
// masks as segment-anything's SamAutomaticMaskGenerator does, and then applies the filters that
// segrid adds.
#pragma once

#include <functional>

#include "engine/everything_options.h"
#include "engine/segmenter.h"

namespace segrid {

struct EverythingCall {
    const EverythingOptions& options;
    Schedule schedule;               // its poll is called as well as progress
    ProgressCallback progress;       // may be empty; called on the calling thread
    double progress_interval = 0.1;  // least seconds between two reports
    // May be empty. If an exception ends the call (it was cancelled, or poll or progress threw),
    // this is called on the calling thread before the exception goes on. It receives the masks
    // found so far that pass the thresholds, without candidates whose runs were dropped to save
    // memory. Box NMS has been applied to finished crops only.
    std::function<void(MaskSet)> partial;
};

struct Everything {
    MaskSet masks;
    Stats stats;
};

// The masks are ordered as segment-anything orders them: by box NMS, and if there are several crops
// by the NMS over crops.
Everything segment_everything(const Segmenter& segmenter, ImageView image,
                              const EverythingCall& call);
// The same for an image that is encoded already. Throws InvalidInput if the options ask for crop
// layers, because each crop is encoded on its own.
Everything segment_everything(const Segmenter& segmenter, const Embedding& embedding,
                              const EverythingCall& call);

}  // namespace segrid
