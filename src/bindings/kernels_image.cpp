// Building blocks for images and weights, for tests.
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/waiting.h"
#include "image/probe.h"
#include "kernels/resample/op.h"
#include "weights/safetensors.h"
#include "weights/store.h"

namespace py = pybind11;
using segrid::bindings::without_gil;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

void bind_image_kernels(py::module_ m) {
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
    m.def("safetensors_names", [](const std::string& path) {
        return without_gil([&] { return segrid::SafeTensors::read(path).names(); });
    });
    m.def("safetensors_take",
          [](const std::string& path, const std::string& name, const std::vector<int64_t>& shape) {
              at::Tensor tensor;
              without_gil([&] {
                  segrid::WeightStore store(segrid::SafeTensors::read(path));
                  tensor = store.take(name, shape);
                  store.finish({""});
              });
              std::vector<py::ssize_t> sizes(tensor.sizes().begin(), tensor.sizes().end());
              py::array_t<float> out(sizes);
              std::copy_n(tensor.const_data_ptr<float>(), tensor.numel(), out.mutable_data());
              return out;
          });
}
