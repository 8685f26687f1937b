#pragma once

#include <pybind11/pybind11.h>

namespace segrid::bindings {

namespace py = pybind11;

void bind_errors(py::module_ m);
void bind_runtime(py::module_ m);  // threads, CPU, kernels, cancellation
void bind_image(py::module_ m);
void bind_mask_set(py::module_ m);
void bind_embedding(py::module_ m);
void bind_engine(py::module_ m);
void bind_session(py::module_ m);
void bind_detector(py::module_ m);
void bind_scripted_detector(py::module_ m);
void bind_pipeline(py::module_ m);
void bind_graphs(py::module_ m);

}  // namespace segrid::bindings
