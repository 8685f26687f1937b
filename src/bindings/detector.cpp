#include "engine/detector.h"

#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/detections.h"
#include "bindings/loaded.h"
#include "core/error.h"
#include "image/image.h"
#include "kernels/nms/op.h"

namespace segrid::bindings {
namespace {

using PyScene = std::shared_ptr<Scene>;
using Corners = std::array<double, 4>;  // XYXY
template <class Number>
using Array = py::array_t<Number, py::array::c_style | py::array::forcecast>;

PyScene encode_scene(const Detector& d, const Image& image) {
    const Image held = image;
    const Schedule schedule = schedule_for(nullptr);
    return without_gil([&] { return std::make_shared<Scene>(d.encode(held.view(), schedule)); });
}

py::tuple detect(const Detector& d, const PyScene& scene, const std::vector<TokenIds>& texts,
                 const std::vector<int64_t>& label_of, double threshold, std::optional<double> nms,
                 bool every_label) {
    check_labels(texts.size(), label_of);
    const Schedule schedule = schedule_for(nullptr);
    return columns(without_gil([&] {
        const Queries queries{d.embed(texts, schedule), label_of,
                              static_cast<int64_t>(texts.size())};
        return d.detect(*scene, queries, options_of(threshold, nms, every_label), schedule);
    }));
}

py::tuple detect_like(const Detector& d, const PyScene& scene, const std::vector<PyScene>& examples,
                      const std::vector<std::optional<Corners>>& boxes, double threshold,
                      double nms) {
    if (examples.empty() || boxes.size() != examples.size())
        internal("detect_like: there must be a box or None for each example");
    const Schedule schedule = schedule_for(nullptr);
    return columns(without_gil([&] {
        Queries queries;
        std::vector<at::Tensor> rows;
        for (std::size_t i = 0; i < examples.size(); ++i) {
            std::optional<ImageBox> box;
            if (boxes[i])
                box = ImageBox{(*boxes[i])[0], (*boxes[i])[1], (*boxes[i])[2], (*boxes[i])[3]};
            rows.push_back(d.embed_example(*examples[i], box, schedule));
            queries.label_of.push_back(static_cast<int64_t>(i));
        }
        run_in_worker(schedule, [&] { queries.vectors = at::cat(rows); });
        queries.labels = static_cast<int64_t>(examples.size());
        return d.detect_like(*scene, queries, options_of(threshold, nms), schedule);
    }));
}

py::tuple propose(const Detector& d, const PyScene& scene, double threshold,
                  std::optional<double> nms) {
    const Schedule schedule = schedule_for(nullptr);
    return columns(
        without_gil([&] { return d.propose(*scene, options_of(threshold, nms), schedule); }));
}

py::array_t<int64_t> kept_by_label(const Array<float>& boxes, const Array<float>& scores,
                                   const Array<int64_t>& labels, double iou_threshold) {
    if (boxes.ndim() != 2 || boxes.shape(1) != 4 || scores.size() != boxes.shape(0) ||
        labels.size() != boxes.shape(0)) {
        internal("box_nms_by_label: boxes must be (N, 4), scores and labels (N,)");
    }
    const auto kept = without_gil([&] {
        return box_nms_by_label(boxes.data(), scores.data(), labels.data(), scores.size(),
                                iou_threshold);
    });
    return py::array_t<int64_t>(static_cast<py::ssize_t>(kept.size()), kept.data());
}

}  // namespace

void bind_detector(py::module_ m) {
    py::class_<Scene, PyScene>(m, "Scene").def_property_readonly("image_size", [](const Scene& s) {
        return py::make_tuple(s.image.height, s.image.width);
    });
    py::class_<Detector, std::shared_ptr<Detector>> detector(m, "Detector");
    bind_loaded(detector);
    detector
        .def_property_readonly("text_length",
                               [](const Detector& d) { return d.model().text_length(); })
        .def_property_readonly("vocabulary",
                               [](const Detector& d) { return d.model().vocabulary(); })
        .def("encode", &encode_scene, py::arg("image"))
        .def("encode_batch", &encode_batch<Detector>, py::arg("images"))
        .def("detect", &detect, py::arg("scene"), py::arg("texts"), py::arg("label_of"),
             py::arg("threshold"), py::arg("nms") = py::none(), py::arg("every_label") = false,
             "Returns (N, 4) float32 boxes, (N,) float32 scores, (N,) int64 labels, (N,) int64 "
             "patches.")
        .def("detect_like", &detect_like, py::arg("scene"), py::arg("examples"), py::arg("boxes"),
             py::arg("threshold"), py::arg("nms"))
        .def("propose", &propose, py::arg("scene"), py::arg("threshold"),
             py::arg("nms") = py::none());
    m.def("box_nms_by_label", &kept_by_label, py::arg("boxes"), py::arg("scores"),
          py::arg("labels"), py::arg("iou_threshold"),
          "Returns the indices of the kept boxes (XYXY), ascending. scores must be descending.");
}

}  // namespace segrid::bindings
