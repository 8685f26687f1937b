// Conversions between NumPy and the engine. Arrays that share memory hold a reference to its owner.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "engine/device.h"
#include "engine/precision.h"

namespace segrid::bindings {

namespace py = pybind11;

// Reads a precision by name, for building blocks.
inline Precision precision_of(const std::string& name) {
    if (name == "fp32") return Precision::Fp32;
    if (name == "bf16") return Precision::Bf16;
    if (name == "int8") return Precision::Int8;
    if (name == "int8-torch") return Precision::Int8Torch;
    invalid("precision: fp32, bf16, int8 or int8-torch, got '" + name + "'");
}

// Works also on a CPU that lacks the instructions, so that every machine can compute their results.
inline Execution execution_of(const std::string& precision, const std::string& device) {
    const ResolvedDevice resolved = resolve_device(device);
    if (resolved.plain) return resolve_precision(precision, "", resolved.plain).execution;
    return {precisions_of(precision_of(precision)), {}};
}

// Returns an array over memory that `owner` keeps alive.
template <class T>
py::array_t<T> share(std::vector<py::ssize_t> shape, const T* data,
                     std::shared_ptr<const void> owner, bool writable) {
    auto* held = new std::shared_ptr<const void>(std::move(owner));
    py::capsule capsule(held, [](void* p) { delete static_cast<std::shared_ptr<const void>*>(p); });
    py::array_t<T> array(std::move(shape), data, capsule);
    if (!writable)
        py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return array;
}

// Returns one property of all masks as a new array.
template <class T, class Items, class Get>
py::array_t<T> column(const Items& items, py::ssize_t width, Get get) {
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(items.size())};
    if (width > 0) shape.push_back(width);
    py::array_t<T> array(shape);
    T* out = array.mutable_data();
    for (const auto& item : items) out = get(item, out);
    return array;
}

}  // namespace segrid::bindings
