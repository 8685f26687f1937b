#include "bindings/everything.h"

#include "bindings/mask_set.h"
#include "bindings/options.h"
#include "bindings/waiting.h"
#include "engine/everything.h"
#include "image/image.h"

namespace segrid::bindings {
namespace {

using O = EverythingOptions;

// All options of everything mode, as `Segmenter.everything` names them (tests/test_codebase.py
// compares names and defaults with its signature).
constexpr Option<O> kOptions[] = {
    {"points_per_side", &O::points_per_side},
    {"point_grids", &O::point_grids},
    {"pred_iou_thresh", &O::pred_iou_thresh},
    {"stability_score_thresh", &O::stability_score_thresh},
    {"any_thresholds", &O::any_thresholds},
    {"stability_score_offset", &O::stability_score_offset},
    {"mask_threshold", &O::mask_threshold},
    {"box_nms_thresh", &O::box_nms_thresh},
    {"crop_n_layers", OrAuto<O>{&O::crop_n_layers}},
    {"crop_nms_thresh", &O::crop_nms_thresh},
    {"crop_overlap_ratio", &O::crop_overlap_ratio},
    {"crop_n_points_downscale_factor", &O::crop_n_points_downscale_factor},
    {"min_mask_region_area", &O::min_mask_region_area},
    {"region_connectivity", &O::region_connectivity},
    {"multimask", &O::multimask},
    {"use_m2m", &O::use_m2m},
    {"max_hole_area", &O::max_hole_area},
    {"max_sprinkle_area", &O::max_sprinkle_area},
    {"min_area_frac", &O::min_area_frac},
    {"mask_iou_thresh", &O::mask_iou_thresh},
    {"containment_thresh", &O::containment_thresh},
    {"crop_containment_thresh", &O::crop_containment_thresh},
    {"max_masks", &O::max_masks},
    {"candidate_memory", &O::candidate_memory},  // for tests; not an argument in Python
};

O options_of(const py::dict& given) { return read_options(kOptions, "everything", given); }

PyMaskSet everything(const Segmenter& s, const py::object& image, const py::dict& given,
                     const py::object& progress, const CancelToken* cancel,
                     const py::object& partial) {
    const O options = options_of(given);
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
        const auto pixels =
            image.cast<Image>();  // shares the pixels, so the image outlives the call
        result = without_gil([&] { return segment_everything(s, pixels.view(), call); });
    }
    warn_of_halving(result.stats);
    return {std::move(result.masks), std::move(result.stats)};
}

}  // namespace

void bind_everything(py::class_<Segmenter, std::shared_ptr<Segmenter>>& segmenter) {
    segmenter
        .def("everything", &everything, py::arg("image"), py::arg("options"),
             py::arg("progress") = py::none(), py::arg("cancel") = nullptr,
             py::arg("partial") = py::none())
        .def_static(
            "check_everything", [](const py::dict& options) { options_of(options).check(); },
            py::arg("options"), "Raises what `everything` raises for these options on any image.")
        .def_static(
            "everything_options", [] { return defaults_of(kOptions); },
            "Every option of `everything` and what holds where it is not given.");
}

}  // namespace segrid::bindings
