// Building blocks of the models, for parity tests.
#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/waiting.h"
#include "core/geometry.h"
#include "image/preprocess.h"
#include "kernels/gemm/op.h"
#include "kernels/rows/op.h"
#include "models/factory.h"

namespace py = pybind11;
using segrid::bindings::without_gil;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

namespace {

py::array_t<float> to_array(const at::Tensor& t) {
    const at::Tensor c = t.contiguous();
    std::vector<py::ssize_t> shape(c.sizes().begin(), c.sizes().end());
    py::array_t<float> out(shape);
    std::copy_n(c.const_data_ptr<float>(), c.numel(), out.mutable_data());
    return out;
}

py::dict encoder_taps(const std::string& config, const std::string& weights,
                      const py::array_t<uint8_t, py::array::c_style>& rgb,
                      const std::string& precision, const std::string& device) {
    std::map<std::string, at::Tensor> taps;
    without_gil([&] {
        const auto model = segrid::load_segmentation_model(
                               config, weights, segrid::bindings::execution_of(precision, device))
                               .model;
        const segrid::ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
        const segrid::FrameMap frame(
            view.size, {0, 0, static_cast<double>(rgb.shape(1)), static_cast<double>(rgb.shape(0))},
            model->preprocess());
        const segrid::ResizedImage resized(view, frame, model->preprocess(), {});
        const segrid::Tap tap = [&](const std::string& name, const at::Tensor& t) {
            taps[name] = t;
        };
        model->encode(
            {.size = frame.resized(), .bytes = resized.bytes(), .floats = resized.floats()}, {},
            &tap);
    });
    py::dict out;
    for (const auto& [name, tensor] : taps) out[py::str(name)] = to_array(tensor);
    return out;
}

}  // namespace

void bind_model_kernels(py::module_ m) {
    m.def("encoder_taps", &encoder_taps, py::arg("config_path"), py::arg("weights_path"),
          py::arg("rgb"), py::arg("precision") = "fp32", py::arg("device") = "cpu",
          "Intermediate results of the encoder by name, each [tokens, channels].");
    m.def(
        "matmul",
        [](const Floats& a, const Floats& b, const std::string& precision) {
            py::array_t<float> c({a.shape(0), b.shape(1)});
            const int64_t rows = a.shape(0), columns = b.shape(1), depth = a.shape(1);
            const float *pa = a.data(), *pb = b.data();
            float* pc = c.mutable_data();
            without_gil([&] {
                segrid::run_in_worker({}, [&] {
                    segrid::Arena arena;
                    const segrid::Factor factor =
                        segrid::make_factor(segrid::bindings::precision_of(precision), depth,
                                            columns, pb, columns, arena);
                    segrid::matmul(rows, columns, depth, {pa, depth}, factor, {pc, columns});
                });
            });
            return c;
        },
        py::arg("a"), py::arg("b"), py::arg("precision") = "fp32");
    m.def(
        "linear",
        [](const Floats& x, const Floats& weight, const Floats& bias, bool gelu,
           const std::string& precision) {
            py::array_t<float> out({x.shape(0), weight.shape(0)});
            const int64_t rows = x.shape(0), in = x.shape(1), n = weight.shape(0);
            const float *px = x.data(), *pw = weight.data(), *pb = bias.data();
            float* po = out.mutable_data();
            without_gil([&] {
                segrid::run_in_worker({}, [&] {
                    const segrid::PackedMatrix w(
                        at::from_blob(const_cast<float*>(pw), {n, in}, at::kFloat),
                        segrid::bindings::precision_of(precision), "weight");
                    segrid::linear(
                        rows, {px, in}, w, {po, n},
                        {.bias = pb,
                         .activation = gelu ? segrid::Activation::Gelu : segrid::Activation::None});
                });
            });
            return out;
        },
        py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("gelu"),
        py::arg("precision") = "fp32");
    m.def("gelu", [](const Floats& x) {
        py::array_t<float> out(x.size());
        std::copy_n(x.data(), x.size(), out.mutable_data());
        segrid::gelu(x.size(), out.mutable_data());
        return out;
    });
    m.def("quick_gelu", [](const Floats& x) {
        py::array_t<float> out(x.size());
        std::copy_n(x.data(), x.size(), out.mutable_data());
        segrid::quick_gelu(x.size(), out.mutable_data());
        return out;
    });
    m.def(
        "softmax_groups",
        [](const Floats& x, int64_t size, const std::optional<Floats>& bias) {
            py::array_t<float> out(x.size());
            std::copy_n(x.data(), x.size(), out.mutable_data());
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
    m.def("blend_row", [](float a, const Floats& x, float b, const Floats& y) {
        py::array_t<float> out(x.size());
        std::copy_n(x.data(), x.size(), out.mutable_data());
        segrid::blend_row(x.size(), a, out.mutable_data(), b, y.data());
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
    m.def(
        "linear_in_parts",
        [](const Floats& x, const Floats& weight, const std::string& precision, int64_t part) {
            py::array_t<float> out({x.shape(0), weight.shape(0)});
            const int64_t rows = x.shape(0), in = x.shape(1), n = weight.shape(0);
            const float *px = x.data(), *pw = weight.data();
            float* po = out.mutable_data();
            without_gil([&] {
                segrid::run_in_worker({}, [&] {
                    const segrid::PackedMatrix w(
                        at::from_blob(const_cast<float*>(pw), {n, in}, at::kFloat),
                        segrid::bindings::precision_of(precision), "weight");
                    for (int64_t k = 0; k < in; k += part)
                        segrid::linear_part(rows, {px + k, in}, w, k, std::min(part, in - k),
                                            {po, n}, k > 0);
                });
            });
            return out;
        },
        "The inner dimension part by part.");
    m.def(
        "linear_by_columns",
        [](const Floats& x, const Floats& weight, const Floats& bias, const std::string& precision,
           int64_t part, const std::optional<Floats>& onto) {
            py::array_t<float> out({x.shape(0), weight.shape(0)});
            if (onto) std::copy_n(onto->data(), out.size(), out.mutable_data());
            const bool add = onto.has_value();
            const int64_t rows = x.shape(0), in = x.shape(1), n = weight.shape(0);
            const float *px = x.data(), *pw = weight.data(), *pb = bias.data();
            float* po = out.mutable_data();
            without_gil([&] {
                segrid::run_in_worker({}, [&] {
                    segrid::Arena arena;
                    const segrid::PackedMatrix w(
                        at::from_blob(const_cast<float*>(pw), {n, in}, at::kFloat),
                        segrid::bindings::precision_of(precision), "weight");
                    const segrid::LinearInput input =
                        segrid::linear_input(rows, {px, in}, w, arena);
                    for (int64_t c = 0; c < n; c += part) {
                        segrid::linear_columns(input, w, c, std::min(part, n - c), {po + c, n},
                                               {.bias = pb, .residual = add ? po + c : nullptr});
                    }
                });
            });
            return out;
        },
        py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("precision"), py::arg("part"),
        py::arg("onto") = py::none(),
        "The columns part by part, of rows that are prepared once; added to `onto`.");
    m.def("layer_norm", [](const Floats& x, const Floats& gamma, const Floats& beta, float eps) {
        py::array_t<float> out(x.size());
        segrid::layer_norm(x.size(), x.data(), gamma.data(), beta.data(), eps, out.mutable_data());
        return out;
    });
}
