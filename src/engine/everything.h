// Segment everything: a grid of points over an image and its crops, decoded in parallel, filtered
// as segment-anything's SamAutomaticMaskGenerator does, then thinned by the filters that segrid
// adds.
#pragma once

#include <functional>

#include "engine/everything_options.h"
#include "engine/segmenter.h"

namespace segrid {

struct EverythingCall {
    const EverythingOptions& options;
    Schedule schedule;               // its poll runs beside progress
    ProgressCallback progress;       // may be empty; called on the calling thread
    double progress_interval = 0.1;  // seconds between two calls of progress
    // May be empty. When the call is stopped (cancelled, or poll or progress threw): the masks of
    // the prompts that had been decoded, after the thresholds, but for candidates that were given
    // up for memory; box NMS has been done for finished crops only. Called on the calling thread
    // before the exception goes on.
    std::function<void(MaskSet)> partial;
};

struct Everything {
    MaskSet masks;
    Stats stats;
};

// The masks in the order of segment-anything's: NMS order, crops by NMS over crops.
Everything segment_everything(const Segmenter& segmenter, ImageView image,
                              const EverythingCall& call);
// On an image that is encoded already; without crops (InvalidInput when options ask for crop
// layers).
Everything segment_everything(const Segmenter& segmenter, const Embedding& embedding,
                              const EverythingCall& call);

}  // namespace segrid
