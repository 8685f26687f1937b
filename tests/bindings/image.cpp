// Resizing and image headers.
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/waiting.h"
#include "image/probe.h"
#include "image/preprocess.h"
#include "kernels.h"
#include "kernels/resample/op.h"

namespace py = pybind11;
using segrid::bindings::without_gil;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

void bind_images(py::module_ m) {
    m.def("resize_rgb", [](const Bytes& rgb, int64_t height, int64_t width) {
        Bytes out(
            {static_cast<py::ssize_t>(height), static_cast<py::ssize_t>(width), py::ssize_t{3}});
        const segrid::ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
        uint8_t* data = out.mutable_data();
        without_gil([&] { segrid::resize_rgb(view, data, {height, width}, {}); });
        return out;
    });
    m.def("resize_rgb_bicubic", [](const Bytes& rgb, int64_t height, int64_t width) {
        Bytes out(
            {static_cast<py::ssize_t>(height), static_cast<py::ssize_t>(width), py::ssize_t{3}});
        const segrid::ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
        uint8_t* data = out.mutable_data();
        without_gil([&] { segrid::resize_rgb_bicubic(view, data, {height, width}, {}); });
        return out;
    });
    m.def("resize_rgb_unrounded", [](const Bytes& rgb, int64_t height, int64_t width) {
        py::array_t<float> out(
            {static_cast<py::ssize_t>(height), static_cast<py::ssize_t>(width), py::ssize_t{3}});
        const segrid::ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
        float* data = out.mutable_data();
        without_gil([&] { segrid::resize_rgb_unrounded(view, data, {height, width}, {}); });
        return out;
    });
    m.def("resize_rgb_blurred", [](const Bytes& rgb, int64_t side) {
        py::array_t<float> out(
            {static_cast<py::ssize_t>(side), static_cast<py::ssize_t>(side), py::ssize_t{3}});
        const segrid::ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
        const segrid::PreprocessSpec spec{.resize = segrid::Resize::PadThenSquash,
                                          .resample = segrid::Resample::BlurredBilinear,
                                          .side = side};
        const segrid::FrameMap frame(
            view.size, {0, 0, static_cast<double>(rgb.shape(1)), static_cast<double>(rgb.shape(0))},
            spec);
        float* data = out.mutable_data();
        without_gil([&] {
            const segrid::ResizedImage resized(view, frame, spec, {});
            std::copy_n(resized.floats(), side * side * 3, data);
        });
        return out;
    });
    m.def("probe_image", [](const py::bytes& data) {
        const std::string_view v = data;
        const auto h = segrid::probe_image(reinterpret_cast<const uint8_t*>(v.data()), v.size());
        py::dict d;
        d["format"] = segrid::format_name(h.format);
        d["size"] = py::make_tuple(h.size.height, h.size.width);
        d["orientation"] = h.orientation;
        d["bit_depth"] = h.bit_depth;
        d["channels"] = h.channels;
        d["animated"] = h.animated;
        return d;
    });
}
