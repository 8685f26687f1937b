#include "engine/embedding.h"

#include <ATen/core/Tensor.h>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/waiting.h"

namespace segrid::bindings {

namespace {

// The features are stored token by token. Strides present them as (1, C, h, w) without a copy.
py::array_t<float> view(const FeatureShape& shape, const at::Tensor& features) {
    const auto channels = static_cast<py::ssize_t>(shape.channels);
    const auto h = static_cast<py::ssize_t>(shape.grid.height),
               w = static_cast<py::ssize_t>(shape.grid.width);
    const auto unit = static_cast<py::ssize_t>(sizeof(float));
    auto* held = new at::Tensor(features);
    py::capsule owner(held, [](void* p) { delete static_cast<at::Tensor*>(p); });
    py::array_t<float> array({py::ssize_t{1}, channels, h, w},
                             {h * w * channels * unit, unit, w * channels * unit, channels * unit},
                             features.const_data_ptr<float>(), owner);
    py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return array;
}

py::tuple views(const Embedding& e, const Features& features) {
    py::tuple all(features.size());
    for (std::size_t i = 0; i < features.size(); ++i) all[i] = view(e.shapes[i], features[i]);
    return all;
}

}  // namespace

void bind_embedding(py::module_ m) {
    py::class_<Embedding, std::shared_ptr<Embedding>>(m, "Embedding")
        .def_property_readonly(
            "image_size",
            [](const Embedding& e) { return py::make_tuple(e.image().height, e.image().width); })
        .def_property_readonly("model_id", [](const Embedding& e) { return e.model_id; })
        .def_property_readonly("nbytes", &Embedding::bytes)
        .def_property_readonly("features",
                               [](const Embedding& e) {
                                   return views(e, without_gil([&] { return e.host_alone(); }));
                               })
        .def_property_readonly("own_features",
                               [](const Embedding& e) {
                                   return views(e, without_gil([&] { return e.host_features(); }));
                               })
        .def_property_readonly(
            "no_memory",
            [](const Embedding& e) -> py::object {
                if (!e.no_memory.defined()) return py::none();
                const at::Tensor host = without_gil([&] { return e.host_no_memory(); });
                return py::array_t<float>(host.numel(), host.const_data_ptr<float>());
            })
        .def("__hash__",
             [](const Embedding& e) { return without_gil([&] { return e.content_hash() >> 1; }); })
        .def("__eq__", [](const Embedding& a, const py::object& other) {
            if (!py::isinstance<Embedding>(other)) return false;
            const auto& b = other.cast<const Embedding&>();
            return without_gil([&] {
                return a.model_id == b.model_id && a.image() == b.image() &&
                       a.content_hash() == b.content_hash();
            });
        });
}

}  // namespace segrid::bindings
