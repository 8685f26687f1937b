#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include <cmath>

#include "bindings/arrays.h"
#include "bindings/loaded.h"
#include "bindings/mask_set.h"
#include "bindings/module.h"
#include "bindings/waiting.h"
#include "core/error.h"
#include "engine/everything.h"
#include "image/image.h"
#include "prompts/grid.h"

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

EverythingOptions read_options(const py::dict& given) {
    EverythingOptions o;
    for (const auto& [k, value] : given) {
        const auto key = k.cast<std::string>();
        if (value.is_none()) continue;
        const auto wrong = [&](const char* rule) {
            invalid(key + ": expected " + rule + ", got " +
                    std::string(py::repr(value)).substr(0, 80));
        };
        const auto number = [&] {
            if (!PyFloat_Check(value.ptr()) && !PyIndex_Check(value.ptr())) wrong("a number");
            return value.cast<double>();
        };
        const auto integer = [&] {
            if (!PyIndex_Check(value.ptr())) wrong("a whole number");
            return value.cast<int64_t>();
        };
        if (key == "points_per_side") o.points_per_side = integer();
        else if (key == "point_grids") {
            for (const auto& grid : value) {
                const auto array = py::cast<Points>(grid);
                if (array.ndim() != 2 || array.shape(1) != 2)
                    invalid("point_grids: each grid must be (N, 2), x and y in 0..1");
                std::vector<ImagePoint> points;
                for (py::ssize_t i = 0; i < array.shape(0); ++i)
                    points.push_back({array.at(i, 0), array.at(i, 1)});
                o.point_grids.push_back(std::move(points));
            }
            validate_grids(o.point_grids);
        } else if (key == "pred_iou_thresh") o.pred_iou_thresh = number();
        else if (key == "stability_score_thresh") o.stability_score_thresh = number();
        else if (key == "stability_score_offset") o.stability_score_offset = number();
        else if (key == "any_thresholds") o.any_thresholds = value.cast<bool>();
        else if (key == "mask_threshold") o.mask_threshold = number();
        else if (key == "box_nms_thresh") o.box_nms_thresh = number();
        else if (key == "crop_n_layers") {
            if (py::isinstance<py::str>(value) && value.cast<std::string>() == "auto")
                o.crop_n_layers.reset();
            else if (PyIndex_Check(value.ptr())) o.crop_n_layers = integer();
            else wrong("a whole number or 'auto'");
        } else if (key == "crop_nms_thresh") o.crop_nms_thresh = number();
        else if (key == "crop_overlap_ratio") o.crop_overlap_ratio = number();
        else if (key == "crop_n_points_downscale_factor")
            o.crop_n_points_downscale_factor = integer();
        else if (key == "min_mask_region_area") o.min_mask_region_area = integer();
        else if (key == "region_connectivity") {
            const int64_t connectivity = integer();
            if (connectivity != 4 && connectivity != 8) wrong("4 or 8");
            o.region_connectivity = static_cast<Connectivity>(connectivity);
        } else if (key == "multimask") o.multimask = value.cast<bool>();
        else if (key == "use_m2m") o.use_m2m = value.cast<bool>();
        else if (key == "max_hole_area") o.max_hole_area = integer();
        else if (key == "max_sprinkle_area") o.max_sprinkle_area = integer();
        else if (key == "min_area_frac") o.min_area_frac = number();
        else if (key == "mask_iou_thresh") o.mask_iou_thresh = number();
        else if (key == "containment_thresh") o.containment_thresh = number();
        else if (key == "crop_containment_thresh") o.crop_containment_thresh = number();
        else if (key == "max_masks") o.max_masks = integer();
        else if (key == "candidate_memory") o.candidate_memory = integer();
        else throw py::key_error("everything: unknown option '" + key + "'");
    }
    return o;
}

PyMaskSet run_everything(const Segmenter& s, const py::object& image, const py::dict& given,
                         const py::object& progress, const CancelToken* cancel,
                         const py::object& partial) {
    const EverythingOptions options = read_options(given);
    EverythingCall call{.options = options,
                        .schedule = schedule_for(cancel),
                        .progress = progress_callback(progress),
                        .partial = {}};
    if (!partial.is_none()) {
        call.partial = [callback = partial.ptr()](MaskSet masks) {
            const py::gil_scoped_acquire gil;
            py::reinterpret_borrow<py::object>(callback)(PyMaskSet(std::move(masks), {}));
        };
    }
    Everything result;
    if (py::isinstance<Embedding>(image)) {
        const auto embedding = image.cast<std::shared_ptr<Embedding>>();
        result = without_gil([&] { return segment_everything(s, *embedding, call); });
    } else {
        // Shares the pixels, so that the image outlives the call.
        const auto pixels = image.cast<Image>();
        result = without_gil([&] { return segment_everything(s, pixels.view(), call); });
    }
    warn_of_halving(result.stats);
    return {std::move(result.masks), std::move(result.stats)};
}

}  // namespace

void bind_engine(py::module_ m) {
    py::class_<Segmenter, std::shared_ptr<Segmenter>> engine(m, "Engine");
    bind_loaded(engine);
    engine
        .def_property_readonly("low_res",
                               [](const Segmenter& s) {
                                   return py::make_tuple(s.model().low_res().height,
                                                         s.model().low_res().width);
                               })
        .def_property_readonly("defaults", &Segmenter::defaults)
        .def_property_readonly("working_scale", &Segmenter::working_scale)
        .def(
            "encode",
            [](const Segmenter& s, const Image& image) {
                const Image held = image;
                const Schedule schedule = schedule_for(nullptr);
                return without_gil(
                    [&] { return std::make_shared<Embedding>(s.encode(held.view(), schedule)); });
            },
            py::arg("image"))
        .def(
            "encode_resized",
            [](const Segmenter& s, const Floats& pixels, std::pair<int64_t, int64_t> image) {
                if (pixels.ndim() != 3 || pixels.shape(2) != 3)
                    invalid("encode_resized: pixels must be (h, w, 3)");
                if (!std::all_of(pixels.data(), pixels.data() + pixels.size(),
                                 [](float v) { return std::isfinite(v); })) {
                    invalid("encode_resized: pixels hold NaN or Inf");
                }
                const Schedule schedule = schedule_for(nullptr);
                return without_gil([&] {
                    return std::make_shared<Embedding>(
                        s.encode_resized(pixels.data(), {pixels.shape(0), pixels.shape(1)},
                                         {image.first, image.second}, schedule));
                });
            },
            py::arg("pixels"), py::arg("image_size"))
        .def(
            "restore",
            [](const Segmenter& s, std::pair<int64_t, int64_t> size,
               const std::vector<Floats>& features, const std::string& model_id,
               bool no_memory_added) {
                for (const Floats& f : features) {
                    if (f.ndim() != 4 || f.shape(0) != 1)
                        invalid("embedding: features must be (1, C, h, w)");
                }
                const Schedule schedule = schedule_for(nullptr);
                return without_gil([&] {
                    Features all;
                    run_in_worker(schedule, [&] {
                        for (const Floats& f : features) {
                            all.push_back(at::from_blob(const_cast<float*>(f.data()),
                                                        {f.shape(1), f.shape(2) * f.shape(3)},
                                                        at::kFloat)
                                              .t()
                                              .contiguous());
                        }
                    });
                    return std::make_shared<Embedding>(s.restore(
                        {size.first, size.second}, {all, no_memory_added, model_id}, schedule));
                });
            },
            py::arg("image_size"), py::arg("features"), py::arg("model_id"),
            py::arg("no_memory_added"))
        .def(
            "predict",
            [](const Segmenter& s, const std::shared_ptr<Embedding>& e,
               const std::optional<Points>& points, const std::optional<Labels>& labels,
               const std::optional<Points>& boxes, const std::optional<Floats>& mask_hints,
               bool multimask, int64_t max_hole_area, int64_t max_sprinkle_area,
               double mask_threshold, bool anywhere, int64_t batch_size) {
                const auto prompts =
                    gather(*e, s.model().low_res(), points, labels, boxes, mask_hints, anywhere);
                const Schedule schedule = schedule_for(nullptr);
                Predicted p = without_gil([&] {
                    return s.predict(
                        *e, prompts,
                        {multimask, mask_threshold, max_hole_area, max_sprinkle_area, batch_size},
                        schedule);
                });
                warn_of_halving(p.stats);
                return PyMaskSet(std::move(p.masks), std::move(p.stats), std::move(p.low_res));
            },
            py::arg("embedding"), py::arg("points") = py::none(), py::arg("labels") = py::none(),
            py::arg("boxes") = py::none(), py::arg("mask_hints") = py::none(),
            py::arg("multimask") = false, py::arg("max_hole_area") = 0,
            py::arg("max_sprinkle_area") = 0, py::arg("mask_threshold") = 0.0,
            py::arg("anywhere") = false, py::arg("batch_size") = 0)
        .def_static(
            "check_everything", [](const py::dict& options) { read_options(options).check(); },
            py::arg("options"),
            "Raises the error that `everything` would raise for these options on any image.")
        .def("everything", &run_everything, py::arg("image"), py::arg("options"),
             py::arg("progress") = py::none(), py::arg("cancel") = nullptr,
             py::arg("partial") = py::none());
}

}  // namespace segrid::bindings
