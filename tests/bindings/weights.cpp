// Files of weights.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings/waiting.h"
#include "kernels.h"
#include "weights/safetensors.h"
#include "weights/store.h"

namespace py = pybind11;
using segrid::bindings::without_gil;

void bind_weights(py::module_ m) {
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
