// Conversions between NumPy and the engine. Arrays that share memory hold a reference to its owner.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <vector>

namespace segrid::bindings {

namespace py = pybind11;

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
