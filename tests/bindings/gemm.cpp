// Matrix products.
#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/waiting.h"
#include "kernels.h"
#include "kernels/gemm/op.h"
#include "precisions.h"

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Int8s = py::array_t<int8_t, py::array::c_style | py::array::forcecast>;

namespace {

// Where the engine calls its kernels: on a worker, without the GIL.
template <class Body>
void on_worker(const Body& body) {
    segrid::bindings::without_gil([&] { segrid::run_in_worker({}, body); });
}

segrid::PackedMatrix packed(const Floats& weight, const std::string& precision) {
    return {at::from_blob(const_cast<float*>(weight.data()), {weight.shape(0), weight.shape(1)},
                          at::kFloat),
            precision_of(precision), "weight"};
}

py::array_t<float> matmul(const Floats& a, const Floats& b, const std::string& precision) {
    py::array_t<float> c({a.shape(0), b.shape(1)});
    const int64_t rows = a.shape(0), columns = b.shape(1), depth = a.shape(1);
    float* out = c.mutable_data();
    on_worker([&] {
        segrid::Arena arena;
        const segrid::Factor factor =
            segrid::make_factor(precision_of(precision), depth, columns, b.data(), columns, arena);
        segrid::matmul(rows, columns, depth, {a.data(), depth}, factor, {out, columns});
    });
    return c;
}

py::array_t<float> linear(const Floats& x, const Floats& weight, const Floats& bias, bool gelu,
                          const std::string& precision) {
    py::array_t<float> out({x.shape(0), weight.shape(0)});
    const int64_t rows = x.shape(0), in = x.shape(1), n = weight.shape(0);
    float* to = out.mutable_data();
    const auto activation = gelu ? segrid::Activation::Gelu : segrid::Activation::None;
    on_worker([&] {
        segrid::linear(rows, {x.data(), in}, packed(weight, precision), {to, n},
                       {.bias = bias.data(), .activation = activation});
    });
    return out;
}

py::array_t<float> linear_in_parts(const Floats& x, const Floats& weight,
                                   const std::string& precision, int64_t part) {
    py::array_t<float> out({x.shape(0), weight.shape(0)});
    const int64_t rows = x.shape(0), in = x.shape(1), n = weight.shape(0);
    float* to = out.mutable_data();
    on_worker([&] {
        const segrid::PackedMatrix w = packed(weight, precision);
        for (int64_t k = 0; k < in; k += part) {
            segrid::linear_part(rows, {x.data() + k, in}, w, k, std::min(part, in - k), {to, n},
                                /*accumulate=*/k > 0);
        }
    });
    return out;
}

py::array_t<float> linear_by_columns(const Floats& x, const Floats& weight, const Floats& bias,
                                     const std::string& precision, int64_t part,
                                     const std::optional<Floats>& onto) {
    py::array_t<float> out({x.shape(0), weight.shape(0)});
    const int64_t rows = x.shape(0), in = x.shape(1), n = weight.shape(0);
    float* to = out.mutable_data();
    if (onto) std::copy_n(onto->data(), out.size(), to);
    on_worker([&] {
        segrid::Arena arena;
        const segrid::PackedMatrix w = packed(weight, precision);
        const segrid::LinearInput input = segrid::linear_input(rows, {x.data(), in}, w, arena);
        for (int64_t c = 0; c < n; c += part) {
            segrid::linear_columns(input, w, c, std::min(part, n - c), {to + c, n},
                                   {.bias = bias.data(), .residual = onto ? to + c : nullptr});
        }
    });
    return out;
}

py::array_t<float> linear_quantised(const Floats& x, const Int8s& values, const Floats& scales) {
    const int64_t rows = x.shape(0), in = x.shape(1), n = values.shape(0);
    py::array_t<float> out({rows, n});
    float* to = out.mutable_data();
    on_worker([&] {
        const segrid::PackedMatrix w(
            {at::from_blob(const_cast<int8_t*>(values.data()), {n, in}, at::kChar),
             at::from_blob(const_cast<float*>(scales.data()), {n}, at::kFloat)},
            "weight");
        segrid::linear(rows, {x.data(), in}, w, {to, n});
    });
    return out;
}

// Whether the first panel of a quantised weight is narrow.
bool is_narrow(const Int8s& values) {
    const segrid::PackedMatrix w({at::from_blob(const_cast<int8_t*>(values.data()),
                                                {values.shape(0), values.shape(1)}, at::kChar),
                                  at::ones({values.shape(0)})},
                                 "weight");
    return w.panel_int8(0, 0).narrow;
}

}  // namespace

void bind_gemm(py::module_ m) {
    m.def("matmul", &matmul, py::arg("a"), py::arg("b"), py::arg("precision") = "fp32");
    m.def("linear", &linear, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("gelu"),
          py::arg("precision") = "fp32");
    m.def("linear_quantised", &linear_quantised, py::arg("x"), py::arg("values"), py::arg("scales"),
          "In int8, with a weight that is quantised already.");
    m.def("is_narrow", &is_narrow, py::arg("values"));
    m.def("linear_in_parts", &linear_in_parts, "The inner dimension part by part.");
    m.def("linear_by_columns", &linear_by_columns, py::arg("x"), py::arg("weight"), py::arg("bias"),
          py::arg("precision"), py::arg("part"), py::arg("onto") = py::none(),
          "The columns part by part, of rows that are prepared once; added to `onto`.");
}
