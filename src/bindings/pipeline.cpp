#include "engine/pipeline.h"

#include <pybind11/stl.h>

#include "bindings/detections.h"
#include "bindings/mask_set.h"
#include "bindings/waiting.h"
#include "core/error.h"
#include "image/image.h"

namespace segrid::bindings {
namespace {

py::tuple segment_detections(const Detector& d, const Segmenter& s, const Image& image,
                             const std::vector<TokenIds>& texts,
                             const std::vector<int64_t>& label_of, double threshold,
                             std::optional<double> nms, int64_t batch_size) {
    check_labels(texts.size(), label_of);
    if (texts.empty()) invalid("detect: no prompts");
    const Image held = image;
    const Schedule schedule = schedule_for(nullptr);
    const PredictOptions masks{.batch_size = batch_size};
    DetectedMasks found = without_gil([&] {
        return detect_and_segment(d, s, held.view(), texts, label_of, options_of(threshold, nms),
                                  masks, schedule);
    });
    warn_of_halving(found.masks.stats);
    return py::make_tuple(columns(found.detections),
                          PyMaskSet(std::move(found.masks.masks), std::move(found.masks.stats),
                                    std::move(found.masks.low_res)));
}

}  // namespace

void bind_pipeline(py::module_ m) {
    m.def("detect_and_segment", &segment_detections, py::arg("detector"), py::arg("segmenter"),
          py::arg("image"), py::arg("texts"), py::arg("label_of"), py::arg("threshold"),
          py::arg("nms") = py::none(), py::arg("batch_size") = 0);
}

}  // namespace segrid::bindings
