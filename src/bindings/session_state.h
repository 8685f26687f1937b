// A session's tracks as Python values, for snapshots.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "engine/session.h"

namespace segrid::bindings {

namespace py = pybind11;

// One dict for each track: id; visited [(frame, backwards)]; prompts [(frame, points (K, 2), labels
// (K,))]; masks [dict]. Each mask: list (the name of the map that holds it), frame, score, iou,
// prompted, counts, and the arrays logits (float32 or float16), memory (in the model's type; uint16
// are bf16's bits), pointer (float32), or None.
py::list state_of(const std::vector<Track>& tracks);
// Throws InvalidInput if the arrays do not have the shapes of the session's model.
std::vector<Track> tracks_of(const py::list& state, const Session& session);

}  // namespace segrid::bindings
