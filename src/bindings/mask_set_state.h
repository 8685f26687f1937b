// A MaskSet as a pickle holds it, and whether two of them are the same.
#pragma once

#include "bindings/mask_set.h"

namespace segrid::bindings {

// (version, (H, W), run counts, runs, boxes and points, scores, prompts, stats, low-res logits or
// None): see the .cpp.
py::tuple state_of(const PyMaskSet& set);
// Throws InvalidInput for a state that no MaskSet can have, since pickles may be damaged.
PyMaskSet from_state(const py::tuple& state);

// Equal masks in the same order, with equal low-res logits; NaN equals NaN. Statistics do not
// count.
bool equal(const PyMaskSet& a, const PyMaskSet& b);

}  // namespace segrid::bindings
