// The memory of video, for parity tests.
#include <ATen/Functions.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>

#include "bindings/waiting.h"
#include "kernels.h"
#include "models/factory.h"
#include "models/tracking.h"
#include "precisions.h"

namespace py = pybind11;
using segrid::bindings::without_gil;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

namespace {

at::Tensor tensor_of(const Floats& array) {
    const std::vector<int64_t> shape(array.shape(), array.shape() + array.ndim());
    return at::from_blob(const_cast<float*>(array.data()), shape, at::kFloat).clone();
}

py::array_t<float> array_of(const at::Tensor& tensor) {
    const at::Tensor host = tensor.to(at::kCPU, at::kFloat).contiguous();
    py::array_t<float> out(std::vector<py::ssize_t>(host.sizes().begin(), host.sizes().end()));
    std::copy_n(host.const_data_ptr<float>(), host.numel(), out.mutable_data());
    return out;
}

template <class Step>
double median_seconds(int repeat, const Step& step) {
    std::vector<double> seconds;
    for (int i = 0; i < repeat; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        step();
        seconds.push_back(
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
}

// A video model's memory, called step by step.
struct Memory {
    Memory(const std::string& config, const std::string& weights, const std::string& device,
           const std::string& precision)
        : execution(execution_of(precision, device)),
          model(segrid::load_segmentation_model(config, weights, execution).model) {}

    at::Tensor placed(const Floats& array) const {
        const segrid::Placement placement = execution.plain.value_or(segrid::Placement{});
        return tensor_of(array).to(placement.device, placement.type);
    }

    struct Remembered {
        std::vector<segrid::RememberedFrame> frames;
        std::vector<segrid::RememberedPointer> pointers;
    };
    Remembered remembered(const std::vector<std::pair<Floats, int64_t>>& frames,
                          const std::vector<std::pair<Floats, double>>& pointers) const {
        Remembered all;
        for (const auto& [features, age] : frames)
            all.frames.push_back({tensor_of(features).to(model->memory()->rules().type), age});
        for (const auto& [pointer, age] : pointers) all.pointers.push_back({placed(pointer), age});
        return all;
    }

    Floats attend(const Floats& image, const std::vector<std::pair<Floats, int64_t>>& frames,
                  const std::vector<std::pair<Floats, double>>& pointers) const {
        const Remembered all = remembered(frames, pointers);
        return array_of(without_gil([&] {
            const auto frame = model->memory()->look(placed(image), {});
            return model->memory()->attend(*frame, all.frames, all.pointers, {});
        }));
    }

    // The seconds of look(), attend() and encode(), each the median of `repeat` runs.
    std::vector<double> seconds(const Floats& image,
                                const std::vector<std::pair<Floats, int64_t>>& frames,
                                const std::vector<std::pair<Floats, double>>& pointers,
                                const Floats& mask, int repeat) const {
        const Remembered all = remembered(frames, pointers);
        const at::Tensor tokens = placed(image), square = tensor_of(mask);
        const segrid::MemoryModel& memory = *model->memory();
        return without_gil([&] {
            const auto frame = memory.look(tokens, {});
            return std::vector<double>{
                median_seconds(repeat, [&] { memory.look(tokens, {}); }),
                median_seconds(repeat,
                               [&] { memory.attend(*frame, all.frames, all.pointers, {}); }),
                median_seconds(repeat, [&] { memory.encode(tokens, square, {}, {}); })};
        });
    }

    Floats encode(const Floats& image, const Floats& mask, bool from_prompt, bool appears) const {
        return array_of(without_gil([&] {
            return model->memory()->encode(placed(image), tensor_of(mask), {from_prompt, appears},
                                           {});
        }));
    }

    Floats pointer(const Floats& token, bool appears) const {
        return array_of(
            without_gil([&] { return model->memory()->pointer(placed(token), appears, {}); }));
    }

    // The output tokens of a click's masks, [masks, channels], and their predicted IoUs. features:
    // [grid area, channels] of each level. x, y: in the model's square.
    std::pair<Floats, std::vector<float>> tokens(const std::vector<Floats>& features, double x,
                                                 double y, bool multimask) const {
        segrid::ModelPrompt prompt;
        prompt.points = {{x, y}};
        prompt.points_given = true;
        prompt.labels = {1};
        std::vector<at::Tensor> rows;
        std::vector<float> iou;
        without_gil([&] {
            segrid::Features placed_features;
            for (const Floats& f : features) placed_features.push_back(placed(f));
            const auto context = model->prepare(placed_features, {});
            segrid::Arena arena;
            const segrid::DecodeRequest request{.multimask = multimask, .tokens = true};
            for (const auto& m : model->decode(*context, prompt, request, {}, arena)) {
                rows.push_back(at::from_blob(const_cast<float*>(m.token),
                                             {model->feature_shapes().front().channels}, at::kFloat)
                                   .clone());
                iou.push_back(m.iou);
            }
        });
        return {array_of(at::stack(rows)), iou};
    }

    Floats hint_of(const Floats& mask) const {
        return array_of(without_gil([&] { return model->memory()->hint_of(tensor_of(mask), {}); }));
    }

    segrid::Execution execution;
    std::unique_ptr<segrid::SegmentationModel> model;
};

}  // namespace

void bind_memory(py::module_ m) {
    py::class_<Memory>(m, "Memory")
        .def(py::init<std::string, std::string, std::string, std::string>(), py::arg("config_path"),
             py::arg("weights_path"), py::arg("device"), py::arg("precision") = "fp32")
        .def("present", [](const Memory& m) { return m.model->memory() != nullptr; })
        .def("frames", [](const Memory& m) { return m.model->memory()->rules().frames; })
        .def("attend", &Memory::attend, py::arg("image"), py::arg("frames"), py::arg("pointers"))
        .def("seconds", &Memory::seconds, py::arg("image"), py::arg("frames"), py::arg("pointers"),
             py::arg("mask"), py::arg("repeat"))
        .def("encode", &Memory::encode, py::arg("image"), py::arg("mask"), py::arg("from_prompt"),
             py::arg("appears"))
        .def("pointer", &Memory::pointer, py::arg("token"), py::arg("appears"))
        .def("tokens", &Memory::tokens, py::arg("features"), py::arg("x"), py::arg("y"),
             py::arg("multimask"))
        .def("hint_of", &Memory::hint_of, py::arg("mask"));
}
