#include "engine/scripted_detector.h"

#include <pybind11/stl.h>

#include "bindings/detections.h"
#include "bindings/waiting.h"
#include "core/error.h"
#include "image/image.h"

namespace segrid::bindings {
namespace {

YoloLayout layout_of(const std::string& name) {
    const std::map<std::string, YoloLayout> layouts{{"auto", YoloLayout::Auto},
                                                    {"channels", YoloLayout::Channels},
                                                    {"objectness", YoloLayout::Objectness},
                                                    {"finished", YoloLayout::Finished}};
    const auto known = layouts.find(name);
    if (known == layouts.end())
        invalid("layout: auto, channels, objectness or finished, got '" + name + "'");
    return known->second;
}

py::tuple detect(const ScriptedDetector& d, const Image& image, double threshold,
                 std::optional<double> nms) {
    const Image held = image;
    const Schedule schedule = schedule_for(nullptr);
    return columns(
        without_gil([&] { return d.detect(held.view(), options_of(threshold, nms), schedule); }));
}

}  // namespace

void bind_scripted_detector(py::module_ m) {
    py::class_<ScriptedDetector, std::shared_ptr<ScriptedDetector>>(m, "ScriptedDetector")
        .def(py::init([](const std::string& path, int64_t side, const std::string& layout) {
                 const YoloLayout known = layout_of(layout);
                 return without_gil(
                     [&] { return std::make_shared<ScriptedDetector>(path, side, known); });
             }),
             py::arg("path"), py::arg("side"), py::arg("layout"))
        .def_property_readonly("side", &ScriptedDetector::side)
        .def_property_readonly("names", &ScriptedDetector::names)
        .def("detect", &detect, py::arg("image"), py::arg("threshold"),
             py::arg("nms") = py::none());
}

}  // namespace segrid::bindings
