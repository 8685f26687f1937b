// The pickled state of a MaskSet, and the equality of two MaskSets.
#pragma once

#include "bindings/mask_set.h"

namespace segrid::bindings {

// Returns (version, (H, W), run counts, runs, boxes and points, scores, prompts, stats, low-res
// logits or None); the .cpp gives the layout.
py::tuple state_of(const PyMaskSet& set);
// Throws InvalidInput for a state that no MaskSet can have, because pickles may be damaged.
PyMaskSet from_state(const py::tuple& state);

// Whether the masks are equal and in the same order, with equal low-res logits. NaN equals NaN.
// Statistics are ignored.
bool equal(const PyMaskSet& a, const PyMaskSet& b);

}  // namespace segrid::bindings
