// Row-wise operations.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "kernels.h"
#include "kernels/rows/op.h"

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

namespace {

py::array_t<float> copy_of(const Floats& x) {
    py::array_t<float> out(x.size());
    std::copy_n(x.data(), x.size(), out.mutable_data());
    return out;
}

// Sums and products of rows.
void bind_arithmetic(py::module_ m) {
    m.def("multiply", [](const Floats& a, const Floats& x) {
        py::array_t<float> out = copy_of(x);
        segrid::multiply(x.size(), a.data(), out.mutable_data());
        return out;
    });
    m.def("multiply_add", [](const Floats& a, const Floats& b, const Floats& x) {
        py::array_t<float> out = copy_of(x);
        segrid::multiply_add(x.size(), a.data(), b.data(), out.mutable_data());
        return out;
    });
    m.def("scale_add", [](float a, const Floats& x, const Floats& b) {
        py::array_t<float> out(x.size());
        segrid::scale_add(x.size(), a, x.data(), b.data(), out.mutable_data());
        return out;
    });
    m.def("blend_row", [](float a, const Floats& x, float b, const Floats& y) {
        py::array_t<float> out = copy_of(x);
        segrid::blend_row(x.size(), a, out.mutable_data(), b, y.data());
        return out;
    });
}

}  // namespace

void bind_rows(py::module_ m) {
    bind_arithmetic(m);
    m.def("gelu", [](const Floats& x) {
        py::array_t<float> out = copy_of(x);
        segrid::gelu(x.size(), out.mutable_data());
        return out;
    });
    m.def("quick_gelu", [](const Floats& x) {
        py::array_t<float> out = copy_of(x);
        segrid::quick_gelu(x.size(), out.mutable_data());
        return out;
    });
    m.def(
        "softmax_groups",
        [](const Floats& x, int64_t size, const std::optional<Floats>& bias) {
            py::array_t<float> out = copy_of(x);
            segrid::softmax_groups(x.size(), size, bias ? bias->data() : nullptr,
                                   out.mutable_data());
            return out;
        },
        py::arg("x"), py::arg("size"), py::arg("bias") = py::none());
    m.def("running_power_row", [](const Floats& s, float max, float sum) {
        py::array_t<uint16_t> out(s.size());
        const float factor =
            segrid::running_power_row(s.size(), s.data(), max, sum, out.mutable_data());
        return py::make_tuple(out, max, sum, factor);
    });
    m.def("residual_norm", [](const Floats& x, const Floats& bias, const Floats& residual,
                              const Floats& gamma, const Floats& beta, float eps) {
        py::array_t<float> out(x.size());
        segrid::residual_norm(x.size(), x.data(), bias.data(), residual.data(), gamma.data(),
                              beta.data(), eps, out.mutable_data());
        return out;
    });
    m.def("transpose", [](const Floats& x) {
        py::array_t<float> out({x.shape(1), x.shape(0)});
        segrid::transpose(x.shape(0), x.shape(1), x.data(), x.shape(1), out.mutable_data(),
                          x.shape(0));
        return out;
    });
    m.def("turn_row", [](const Floats& cos, const Floats& sin, const Floats& x) {
        py::array_t<float> out = copy_of(x);
        segrid::turn_row(cos.size(), cos.data(), sin.data(), out.mutable_data());
        return out;
    });
    m.def("turn_rows", [](const Floats& cos, const Floats& sin, const Floats& x) {
        py::array_t<float> out({x.shape(0), x.shape(1)});
        segrid::turn_rows(x.shape(0), cos.size(), cos.data(), sin.data(), x.data(),
                          out.mutable_data());
        return out;
    });
    m.def("to_bf16", [](const Floats& x) {
        py::array_t<uint16_t> out(x.size());
        segrid::to_bf16(x.size(), x.data(), out.mutable_data());
        return out;
    });
    m.def("pair_bf16", [](const Floats& a, const std::optional<Floats>& b) {
        py::array_t<uint16_t> out(2 * a.size());
        segrid::pair_bf16(a.size(), a.data(), b ? b->data() : nullptr, out.mutable_data());
        return out;
    });
    m.def("quantise_row", [](const Floats& x) {
        py::array_t<uint8_t> q(x.size());
        segrid::RowScale row;
        const bool finite = segrid::quantise_row(x.size(), x.data(), q.mutable_data(), row);
        return py::make_tuple(finite, q, row.scale, row.zero);
    });
    m.def("layer_norm", [](const Floats& x, const Floats& gamma, const Floats& beta, float eps) {
        py::array_t<float> out(x.size());
        segrid::layer_norm(x.size(), x.data(), gamma.data(), beta.data(), eps, out.mutable_data());
        return out;
    });
}
