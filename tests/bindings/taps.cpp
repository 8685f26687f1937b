// The intermediate results of models, for parity tests.
#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include <numeric>

#include "bindings/arrays.h"
#include "bindings/waiting.h"
#include "image/preprocess.h"
#include "kernels.h"
#include "models/factory.h"
#include "precisions.h"

namespace py = pybind11;
using segrid::bindings::without_gil;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

namespace {

py::array_t<float> to_array(const at::Tensor& t) {
    const at::Tensor c = t.contiguous();
    std::vector<py::ssize_t> shape(c.sizes().begin(), c.sizes().end());
    py::array_t<float> out(shape);
    std::copy_n(c.const_data_ptr<float>(), c.numel(), out.mutable_data());
    return out;
}

py::dict encoder_taps(const std::string& config, const std::string& weights, const Bytes& rgb,
                      const std::string& precision, const std::string& device) {
    std::map<std::string, at::Tensor> taps;
    without_gil([&] {
        const auto model =
            segrid::load_segmentation_model(config, weights, execution_of(precision, device)).model;
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

py::dict detector_taps(const std::string& config, const std::string& weights, const Bytes& rgb,
                       const std::vector<segrid::TokenIds>& texts, const std::string& precision,
                       const std::string& device) {
    std::map<std::string, at::Tensor> taps;
    without_gil([&] {
        const auto model =
            segrid::load_detection_model(config, weights, execution_of(precision, device)).model;
        const segrid::ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
        const segrid::FrameMap frame(
            view.size, {0, 0, static_cast<double>(rgb.shape(1)), static_cast<double>(rgb.shape(0))},
            model->preprocess());
        const segrid::ResizedImage resized(view, frame, model->preprocess(), {});
        const segrid::ModelInput input{
            .size = frame.resized(), .bytes = resized.bytes(), .floats = resized.floats()};
        const segrid::Tap tap = [&](const std::string& name, const at::Tensor& t) {
            taps[name] = t;
        };
        at::Tensor pixels = at::empty({input.size.height, input.size.width, 3});
        for (int64_t i = 0; i < pixels.numel(); ++i)
            pixels.mutable_data_ptr<float>()[i] = input.normalised(model->preprocess(), i);
        taps["pixels"] = pixels;
        const segrid::DetectionFeatures features = model->encode(input, {}, &tap);
        const at::Tensor queries = model->embed_texts(texts, {}, &tap);
        const int64_t patches = features.patches.size(0);
        taps["classes"] = features.classes;
        taps["logits"] = at::empty({patches, queries.size(0)});
        segrid::run_in_worker({}, [&] {
            model->logits(features, segrid::PackedMatrix(queries, segrid::Precision::Fp32), 0,
                          patches, taps["logits"].mutable_data_ptr<float>());
        });
        std::vector<int64_t> all(static_cast<std::size_t>(patches));
        std::iota(all.begin(), all.end(), 0);
        const std::vector<segrid::UnitBox> boxes = model->boxes(features, all, {});
        taps["boxes"] = at::empty({patches, 4});
        std::memcpy(taps["boxes"].mutable_data_ptr<float>(), boxes.data(),
                    boxes.size() * sizeof(segrid::UnitBox));
        if (model->family() != "owlv2") return;
        const std::vector<float> objectness = model->objectness(features, {});
        taps["objectness"] = at::empty({patches});
        std::copy(objectness.begin(), objectness.end(),
                  taps["objectness"].mutable_data_ptr<float>());
    });
    py::dict out;
    for (const auto& [name, tensor] : taps) out[py::str(name)] = to_array(tensor);
    return out;
}

}  // namespace

void bind_taps(py::module_ m) {
    m.def("encoder_taps", &encoder_taps, py::arg("config_path"), py::arg("weights_path"),
          py::arg("rgb"), py::arg("precision") = "fp32", py::arg("device") = "cpu",
          "Intermediate results of the encoder by name, each [tokens, channels].");
    m.def("detector_taps", &detector_taps, py::arg("config_path"), py::arg("weights_path"),
          py::arg("rgb"), py::arg("texts"), py::arg("precision") = "fp32",
          py::arg("device") = "cpu",
          "Returns intermediate results by name: pixels (h, w, 3) normalised, towers, logits, "
          "boxes (XYXY in 0..1), objectness.");
}
