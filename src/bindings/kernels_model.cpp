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

py::dict sam_taps(const std::string& config, const std::string& weights, const py::array_t<uint8_t, py::array::c_style>& rgb) {
    std::map<std::string, at::Tensor> taps;
    without_gil([&] {
        const auto model = segrid::load_segmentation_model(config, weights);
        const segrid::ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
        const segrid::FrameMap frame(view.size, {0, 0, static_cast<double>(rgb.shape(1)), static_cast<double>(rgb.shape(0))},
                                     model->preprocess());
        std::vector<uint8_t> resized(static_cast<std::size_t>(frame.resized().area()) * 3);
        segrid::resize_for_model(view, frame, resized.data(), {});
        const segrid::Tap tap = [&](const std::string& name, const at::Tensor& t) { taps[name] = t; };
        model->encode(resized.data(), frame.resized(), {}, &tap);
    });
    py::dict out;
    for (const auto& [name, tensor] : taps) out[py::str(name)] = to_array(tensor);
    return out;
}

}  // namespace

void bind_model_kernels(py::module_ m) {
    m.def("sam_taps", &sam_taps, py::arg("config_path"), py::arg("weights_path"), py::arg("rgb"),
          "Intermediate results of the encoder: patch_embed, block_0.., neck, each [tokens, channels].");
    m.def("matmul", [](const Floats& a, const Floats& b) {
        py::array_t<float> c({a.shape(0), b.shape(1)});
        const int64_t rows = a.shape(0), columns = b.shape(1), depth = a.shape(1);
        const float *pa = a.data(), *pb = b.data();
        float* pc = c.mutable_data();
        without_gil([&] {
            segrid::run_in_worker({}, [&] { segrid::matmul(rows, columns, depth, pa, depth, pb, columns, pc, columns); });
        });
        return c;
    });
    m.def("linear", [](const Floats& x, const Floats& weight, const Floats& bias, bool gelu) {
        py::array_t<float> out({x.shape(0), weight.shape(0)});
        const int64_t rows = x.shape(0), in = x.shape(1), n = weight.shape(0);
        const float *px = x.data(), *pw = weight.data(), *pb = bias.data();
        float* po = out.mutable_data();
        without_gil([&] {
            segrid::run_in_worker({}, [&] {
                const segrid::PackedMatrix w(at::from_blob(const_cast<float*>(pw), {n, in}, at::kFloat));
                segrid::linear(rows, px, in, w, po, n,
                               {.bias = pb, .activation = gelu ? segrid::Activation::Gelu : segrid::Activation::None});
            });
        });
        return out;
    });
    m.def("gelu", [](const Floats& x) {
        py::array_t<float> out(x.size());
        std::copy_n(x.data(), x.size(), out.mutable_data());
        segrid::gelu(x.size(), out.mutable_data());
        return out;
    });
    m.def("softmax_strided", [](const Floats& x, int64_t groups, int64_t lanes) {
        py::array_t<float> out(x.size());
        std::copy_n(x.data(), x.size(), out.mutable_data());
        segrid::softmax_strided(groups, lanes, out.mutable_data());
        return out;
    });
    m.def("layer_norm", [](const Floats& x, const Floats& gamma, const Floats& beta, float eps) {
        py::array_t<float> out(x.size());
        segrid::layer_norm(x.size(), x.data(), gamma.data(), beta.data(), eps, out.mutable_data());
        return out;
    });
}
