// Everything mode, its options and its call.
#pragma once

#include "bindings/module.h"
#include "engine/segmenter.h"

namespace segrid::bindings {

void bind_everything(py::class_<Segmenter, std::shared_ptr<Segmenter>>& segmenter);

}  // namespace segrid::bindings
