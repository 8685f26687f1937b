#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/loaded.h"
#include "bindings/mask_set.h"
#include "bindings/module.h"
#include "bindings/waiting.h"
#include "core/error.h"
#include "engine/pipeline.h"
#include "engine/scripted_detector.h"
#include "kernels/nms/op.h"

namespace segrid::bindings {
namespace {

using Ids = std::vector<TokenIds>;
template <class Number>
using Array = py::array_t<Number, py::array::c_style | py::array::forcecast>;

py::tuple columns(const std::vector<Detection>& found) {
    const auto boxes = column<float>(found, 4, [](const Detection& d, float* out) {
        for (const double v : {d.box.x0, d.box.y0, d.box.x1, d.box.y1})
            *out++ = static_cast<float>(v);
        return out;
    });
    const auto scores = column<float>(found, 0, [](const Detection& d, float* out) {
        *out = d.score;
        return out + 1;
    });
    const auto labels = column<int64_t>(found, 0, [](const Detection& d, int64_t* out) {
        *out = d.label;
        return out + 1;
    });
    const auto patches = column<int64_t>(found, 0, [](const Detection& d, int64_t* out) {
        *out = d.patch;
        return out + 1;
    });
    return py::make_tuple(boxes, scores, labels, patches);
}

DetectOptions options_of(double threshold, std::optional<double> nms, bool every_label) {
    return {.threshold = threshold, .nms = nms, .every_label = every_label};
}

void check_labels(std::size_t texts, const std::vector<int64_t>& label_of) {
    if (label_of.size() != texts) internal("detect: there must be one label for each text");
    for (const int64_t label : label_of) {
        if (label < 0 || label >= static_cast<int64_t>(texts))
            internal("detect: labels must be from 0 to the number of texts - 1");
    }
}

}  // namespace

void bind_detector(py::module_ m) {
    py::class_<Scene, std::shared_ptr<Scene>>(m, "Scene")
        .def_property_readonly("image_size", [](const Scene& s) {
            return py::make_tuple(s.image.height, s.image.width);
        });
    py::class_<Detector, std::shared_ptr<Detector>> detector(m, "Detector");
    bind_loaded(detector);
    detector
        .def_property_readonly("text_length",
                               [](const Detector& d) { return d.model().text_length(); })
        .def_property_readonly("vocabulary",
                               [](const Detector& d) { return d.model().vocabulary(); })
        .def(
            "encode",
            [](const Detector& d, const Image& image) {
                const Image held = image;
                const Schedule schedule = schedule_for(nullptr);
                return without_gil(
                    [&] { return std::make_shared<Scene>(d.encode(held.view(), schedule)); });
            },
            py::arg("image"))
        .def(
            "detect",
            [](const Detector& d, const std::shared_ptr<Scene>& scene, const Ids& texts,
               const std::vector<int64_t>& label_of, double threshold, std::optional<double> nms,
               bool every_label) {
                check_labels(texts.size(), label_of);
                const Schedule schedule = schedule_for(nullptr);
                return columns(without_gil([&] {
                    const Queries queries{d.embed(texts, schedule), label_of,
                                          static_cast<int64_t>(texts.size())};
                    return d.detect(*scene, queries, options_of(threshold, nms, every_label),
                                    schedule);
                }));
            },
            py::arg("scene"), py::arg("texts"), py::arg("label_of"), py::arg("threshold"),
            py::arg("nms") = py::none(), py::arg("every_label") = false,
            "Returns (N, 4) float32 boxes, (N,) float32 scores, (N,) int64 labels, (N,) int64 "
            "patches.")
        .def(
            "detect_like",
            [](const Detector& d, const std::shared_ptr<Scene>& scene,
               const std::vector<std::shared_ptr<Scene>>& examples,
               const std::vector<std::optional<std::array<double, 4>>>& boxes, double threshold,
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
                            box = ImageBox{(*boxes[i])[0], (*boxes[i])[1], (*boxes[i])[2],
                                           (*boxes[i])[3]};
                        rows.push_back(d.embed_example(*examples[i], box, schedule));
                        queries.label_of.push_back(static_cast<int64_t>(i));
                    }
                    run_in_worker(schedule, [&] { queries.vectors = at::cat(rows); });
                    queries.labels = static_cast<int64_t>(examples.size());
                    return d.detect_like(*scene, queries, options_of(threshold, nms, false),
                                         schedule);
                }));
            },
            py::arg("scene"), py::arg("examples"), py::arg("boxes"), py::arg("threshold"),
            py::arg("nms"))
        .def(
            "propose",
            [](const Detector& d, const std::shared_ptr<Scene>& scene, double threshold,
               std::optional<double> nms) {
                const Schedule schedule = schedule_for(nullptr);
                return columns(without_gil([&] {
                    return d.propose(*scene, options_of(threshold, nms, false), schedule);
                }));
            },
            py::arg("scene"), py::arg("threshold"), py::arg("nms") = py::none());
    py::class_<ScriptedDetector, std::shared_ptr<ScriptedDetector>>(m, "ScriptedDetector")
        .def(
            py::init([](const std::string& path, int64_t side, const std::string& layout) {
                const std::map<std::string, YoloLayout> layouts{
                    {"auto", YoloLayout::Auto},
                    {"channels", YoloLayout::Channels},
                    {"objectness", YoloLayout::Objectness},
                    {"finished", YoloLayout::Finished}};
                const auto known = layouts.find(layout);
                if (known == layouts.end())
                    invalid("layout: auto, channels, objectness or finished, got '" + layout + "'");
                return without_gil(
                    [&] { return std::make_shared<ScriptedDetector>(path, side, known->second); });
            }),
            py::arg("path"), py::arg("side"), py::arg("layout"))
        .def_property_readonly("side", &ScriptedDetector::side)
        .def_property_readonly("names", &ScriptedDetector::names)
        .def(
            "detect",
            [](const ScriptedDetector& d, const Image& image, double threshold,
               std::optional<double> nms) {
                const Image held = image;
                const Schedule schedule = schedule_for(nullptr);
                return columns(without_gil([&] {
                    return d.detect(held.view(), options_of(threshold, nms, false), schedule);
                }));
            },
            py::arg("image"), py::arg("threshold"), py::arg("nms") = py::none());
    m.def(
        "box_nms_by_label",
        [](const Array<float>& boxes, const Array<float>& scores, const Array<int64_t>& labels,
           double iou_threshold) {
            if (boxes.ndim() != 2 || boxes.shape(1) != 4 || scores.size() != boxes.shape(0) ||
                labels.size() != boxes.shape(0)) {
                internal("box_nms_by_label: boxes must be (N, 4), scores and labels (N,)");
            }
            const auto kept = without_gil([&] {
                return box_nms_by_label(boxes.data(), scores.data(), labels.data(), scores.size(),
                                        iou_threshold);
            });
            return py::array_t<int64_t>(static_cast<py::ssize_t>(kept.size()), kept.data());
        },
        py::arg("boxes"), py::arg("scores"), py::arg("labels"), py::arg("iou_threshold"),
        "Returns the indices of the kept boxes (XYXY), ascending. scores must be descending.");
    m.def(
        "detect_and_segment",
        [](const Detector& d, const Segmenter& s, const Image& image, const Ids& texts,
           const std::vector<int64_t>& label_of, double threshold, std::optional<double> nms,
           int64_t batch_size) {
            check_labels(texts.size(), label_of);
            if (texts.empty()) invalid("detect: no prompts");
            const Image held = image;
            const Schedule schedule = schedule_for(nullptr);
            const PredictOptions masks{.batch_size = batch_size};
            DetectedMasks found = without_gil([&] {
                return detect_and_segment(d, s, held.view(), texts, label_of,
                                          options_of(threshold, nms, false), masks, schedule);
            });
            warn_of_halving(found.masks.stats);
            return py::make_tuple(
                columns(found.detections),
                PyMaskSet(std::move(found.masks.masks), std::move(found.masks.stats),
                          std::move(found.masks.low_res)));
        },
        py::arg("detector"), py::arg("segmenter"), py::arg("image"), py::arg("texts"),
        py::arg("label_of"), py::arg("threshold"), py::arg("nms") = py::none(),
        py::arg("batch_size") = 0);
}

}  // namespace segrid::bindings
