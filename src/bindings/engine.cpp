#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include <cmath>

#include "bindings/arrays.h"
#include "bindings/everything.h"
#include "bindings/loaded.h"
#include "bindings/mask_set.h"
#include "bindings/module.h"
#include "bindings/options.h"
#include "bindings/waiting.h"
#include "core/error.h"
#include "engine/segmenter.h"
#include "image/image.h"

namespace segrid::bindings {
namespace {

using Points = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Labels = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

// Turns arrays of P prompts into prompts and validates them against the image. Mask hints point
// into the array's memory.
std::vector<Prompt> gather(const Embedding& e, Size low_res, const std::optional<Points>& points,
                           const std::optional<Labels>& labels, const std::optional<Points>& boxes,
                           const std::optional<Floats>& hints, bool anywhere) {
    py::ssize_t count = -1;
    const auto agree = [&](const char* what, py::ssize_t n) {
        if (count >= 0 && n != count) {
            invalid("predict: " + std::string(what) + " are for " + std::to_string(n) +
                    " prompts, but the arguments before are for " + std::to_string(count));
        }
        count = n;
    };
    if (points) {
        if (points->ndim() != 3 || points->shape(2) != 2) invalid("points: must be (P, K, 2)");
        agree("points", points->shape(0));
        if (!labels || labels->ndim() != 2 || labels->shape(0) != points->shape(0) ||
            labels->shape(1) != points->shape(1)) {
            invalid("labels: must be (P, K) = (" + std::to_string(points->shape(0)) + ", " +
                    std::to_string(points->shape(1)) + "), one for each point");
        }
    } else if (labels) {
        invalid("labels: given without points");
    }
    if (boxes) {
        if (boxes->ndim() != 2 || boxes->shape(1) != 4) invalid("boxes: must be (P, 4) XYXY");
        agree("boxes", boxes->shape(0));
    }
    if (hints) {
        if (hints->ndim() != 3 || hints->shape(1) != low_res.height ||
            hints->shape(2) != low_res.width) {
            std::string got;
            for (py::ssize_t i = 0; i < hints->ndim(); ++i)
                got += (i ? ", " : "") + std::to_string(hints->shape(i));
            invalid("mask_hints: must be (P, " + std::to_string(low_res.height) + ", " +
                    std::to_string(low_res.width) + ") low-res logits, got (" + got + ")");
        }
        agree("mask_hints", hints->shape(0));
    }
    if (count < 0 && anywhere) count = 1;  // as segment-anything's predict() without a prompt
    if (count <= 0) invalid("predict: no prompts; give points, boxes or mask_hints");
    std::vector<Prompt> prompts(static_cast<std::size_t>(count));
    for (py::ssize_t p = 0; p < count; ++p) {
        Prompt& prompt = prompts[static_cast<std::size_t>(p)];
        prompt.points_given = points.has_value();
        if (points) {
            for (py::ssize_t k = 0; k < points->shape(1); ++k) {
                prompt.points.push_back({points->at(p, k, 0), points->at(p, k, 1)});
                prompt.labels.push_back(
                    static_cast<int>(std::clamp<int64_t>(labels->at(p, k), -1000, 1000)));
            }
        }
        if (boxes)
            prompt.box =
                ImageBox{boxes->at(p, 0), boxes->at(p, 1), boxes->at(p, 2), boxes->at(p, 3)};
        if (hints) prompt.mask_hint = hints->data(p, 0, 0);
    }
    if (hints) {
        for (py::ssize_t i = 0; i < hints->size(); ++i) {
            if (!std::isfinite(hints->data()[i])) {
                const py::ssize_t plane = static_cast<py::ssize_t>(low_res.area());
                invalid("mask_hints[" + std::to_string(i / plane) + "]: holds NaN or Inf");
            }
        }
    }
    validate(prompts, e.image(), anywhere);
    return prompts;
}

// The arguments of predict() that segment-anything and sam2 have, too.
constexpr Option<PredictOptions> kPredictOptions[] = {
    {"multimask", &PredictOptions::multimask},
    {"mask_threshold", &PredictOptions::mask_threshold},
    {"max_hole_area", &PredictOptions::max_hole_area},
    {"max_sprinkle_area", &PredictOptions::max_sprinkle_area},
    {"batch_size", &PredictOptions::batch_size},
};

using PySegmenter = py::class_<Segmenter, std::shared_ptr<Segmenter>>;

std::shared_ptr<Embedding> encode(const Segmenter& s, const Image& image) {
    const Image held = image;
    const Schedule schedule = schedule_for(nullptr);
    return without_gil(
        [&] { return std::make_shared<Embedding>(s.encode(held.view(), schedule)); });
}

std::shared_ptr<Embedding> encode_frame(const Segmenter& s, const Image& image) {
    const Image held = image;
    const Schedule schedule = schedule_for(nullptr);
    return without_gil(
        [&] { return std::make_shared<Embedding>(s.encode_frame(held.view(), schedule)); });
}

std::shared_ptr<Embedding> prepared(const Segmenter& s, const std::shared_ptr<Embedding>& e) {
    const Schedule schedule = schedule_for(nullptr);
    return without_gil([&] { return std::make_shared<Embedding>(s.prepared(*e, schedule)); });
}

std::shared_ptr<Embedding> encode_resized(const Segmenter& s, const Floats& pixels,
                                          std::pair<int64_t, int64_t> image) {
    if (pixels.ndim() != 3 || pixels.shape(2) != 3)
        invalid("encode_resized: pixels must be (h, w, 3)");
    if (!std::all_of(pixels.data(), pixels.data() + pixels.size(),
                     [](float v) { return std::isfinite(v); })) {
        invalid("encode_resized: pixels hold NaN or Inf");
    }
    const Schedule schedule = schedule_for(nullptr);
    return without_gil([&] {
        return std::make_shared<Embedding>(s.encode_resized(pixels.data(),
                                                            {pixels.shape(0), pixels.shape(1)},
                                                            {image.first, image.second}, schedule));
    });
}

// An embedding from the features that `Embedding.features` gave.
std::shared_ptr<Embedding> restore(const Segmenter& s, std::pair<int64_t, int64_t> size,
                                   const std::vector<Floats>& features, const std::string& model_id,
                                   bool no_memory_added) {
    for (const Floats& f : features) {
        if (f.ndim() != 4 || f.shape(0) != 1) invalid("embedding: features must be (1, C, h, w)");
    }
    const Schedule schedule = schedule_for(nullptr);
    return without_gil([&] {
        Features all;
        run_in_worker(schedule, [&] {
            for (const Floats& f : features) {
                all.push_back(at::from_blob(const_cast<float*>(f.data()),
                                            {f.shape(1), f.shape(2) * f.shape(3)}, at::kFloat)
                                  .t()
                                  .clone(at::MemoryFormat::Contiguous));
            }
        });
        return std::make_shared<Embedding>(
            s.restore({size.first, size.second}, {all, no_memory_added, model_id}, schedule));
    });
}

PyMaskSet predict(const Segmenter& s, const std::shared_ptr<Embedding>& e,
                  const std::optional<Points>& points, const std::optional<Labels>& labels,
                  const std::optional<Points>& boxes, const std::optional<Floats>& mask_hints,
                  bool anywhere, const py::dict& given) {
    const PredictOptions options = read_options(kPredictOptions, "predict", given);
    const auto prompts =
        gather(*e, s.model().low_res(), points, labels, boxes, mask_hints, anywhere);
    const Schedule schedule = schedule_for(nullptr);
    Predicted p = without_gil([&] { return s.predict(*e, prompts, options, schedule); });
    warn_of_halving(p.stats);
    return {std::move(p.masks), std::move(p.stats), std::move(p.low_res)};
}

}  // namespace

void bind_engine(py::module_ m) {
    PySegmenter engine(m, "Segmenter");
    bind_loaded(engine);
    engine
        .def_property_readonly("low_res",
                               [](const Segmenter& s) {
                                   return py::make_tuple(s.model().low_res().height,
                                                         s.model().low_res().width);
                               })
        .def_property_readonly("defaults", &Segmenter::defaults)
        .def_property_readonly("working_scale", &Segmenter::working_scale)
        .def_property_readonly(
            "batched", [](const Segmenter& s) { return s.model().batched(); },
            "Whether images and prompts are computed in batches.")
        .def("encode", &encode, py::arg("image"))
        .def("encode_batch", &encode_batch<Segmenter>, py::arg("images"))
        .def("encode_frame", &encode_frame, py::arg("image"))
        .def("prepared", &prepared, py::arg("embedding"))
        .def("encode_resized", &encode_resized, py::arg("pixels"), py::arg("image_size"))
        .def("restore", &restore, py::arg("image_size"), py::arg("features"), py::arg("model_id"),
             py::arg("no_memory_added"))
        .def("predict", &predict, py::arg("embedding"), py::arg("points") = py::none(),
             py::arg("labels") = py::none(), py::arg("boxes") = py::none(),
             py::arg("mask_hints") = py::none(), py::arg("anywhere") = false,
             py::arg("options") = py::dict());
    bind_everything(engine);
}

}  // namespace segrid::bindings
