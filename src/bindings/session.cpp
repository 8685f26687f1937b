#include "engine/session.h"

#include <ATen/ATen.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/mask_set.h"
#include "bindings/module.h"
#include "bindings/options.h"
#include "bindings/session_state.h"
#include "bindings/waiting.h"
#include "core/error.h"

namespace segrid::bindings {
namespace {

using Points = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Labels = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

constexpr Option<TrackingOptions> kOptions[] = {
    {"memory_frames", &TrackingOptions::memory_frames},
    {"conditioning_frames", &TrackingOptions::conditioning_frames},
    {"pointers", &TrackingOptions::pointers},
    {"memory_stride", &TrackingOptions::memory_stride},
    {"max_hole_area", &TrackingOptions::max_hole_area},
    {"non_overlap", &TrackingOptions::non_overlap},
    {"corrections_condition", &TrackingOptions::corrections_condition},
    {"forget_near_prompts", &TrackingOptions::forget_near_prompts},
    {"history", &TrackingOptions::history},
    {"keep_masks", &TrackingOptions::keep_masks},
    {"max_objects", &TrackingOptions::max_objects},
};

// (frame, ids, masks)
py::tuple to_python(SessionFrame frame) {
    return py::make_tuple(
        frame.frame, frame.ids,
        PyMaskSet(std::move(frame.masks), std::move(frame.stats), std::move(frame.low_res)));
}

template <class Body>
py::tuple frame_of(const Body& body) {
    const Schedule schedule = schedule_for(nullptr);
    return to_python(without_gil([&] { return body(schedule); }));
}

// What the dict lacks has its default.
PromptManner manner_of(const py::dict& given) {
    const auto flag = [&](const char* name) {
        return given.contains(name) && given[name].cast<bool>();
    };
    PromptManner manner;
    manner.replace = flag("replace");
    manner.anywhere = flag("anywhere");
    manner.anew = flag("anew");
    if (given.contains("backwards") && !given["backwards"].is_none())
        manner.backwards = flag("backwards");
    return manner;
}

Prompt prompt_of(const std::optional<Points>& points, const std::optional<Labels>& labels,
                 const std::optional<Points>& box) {
    Prompt prompt;
    if (points) {
        if (points->ndim() != 2 || points->shape(1) != 2) invalid("points: must be (K, 2)");
        if (!labels || labels->ndim() != 1 || labels->shape(0) != points->shape(0))
            invalid("labels: must be (K,) = (" + std::to_string(points->shape(0)) +
                    ",), one for each point");
        for (py::ssize_t k = 0; k < points->shape(0); ++k) {
            prompt.points.push_back({points->at(k, 0), points->at(k, 1)});
            prompt.labels.push_back(
                static_cast<int>(std::clamp<int64_t>(labels->at(k), -1000, 1000)));
        }
        prompt.points_given = true;
    }
    if (box) {
        if (box->ndim() != 1 || box->shape(0) != 4) invalid("box: must be (4,) XYXY");
        prompt.box = ImageBox{box->at(0), box->at(1), box->at(2), box->at(3)};
    }
    return prompt;
}

py::tuple add(Session& s, int64_t id, int64_t frame, const Embedding& image,
              const std::optional<Points>& points, const std::optional<Labels>& labels,
              const std::optional<Points>& box, const py::dict& manner) {
    const Prompt prompt = prompt_of(points, labels, box);
    const PromptManner how = manner_of(manner);
    return frame_of(
        [&](const Schedule& schedule) { return s.add(id, frame, image, prompt, how, schedule); });
}

py::tuple add_mask(Session& s, int64_t id, int64_t frame, const Embedding& image,
                   const py::array_t<bool, py::array::c_style>& mask, const py::dict& manner) {
    const PromptManner how = manner_of(manner);
    const Size video = s.video();
    if (mask.ndim() != 2) invalid("mask: must be (H, W)");
    const Size size{mask.shape(0), mask.shape(1)};
    if (how.anywhere) check_size("mask", size);
    else if (size != video) {
        invalid("mask: must be (H, W) = (" + std::to_string(video.height) + ", " +
                std::to_string(video.width) + "), the size of the video, got (" +
                std::to_string(size.height) + ", " + std::to_string(size.width) + ")");
    }
    const auto* pixels = reinterpret_cast<const uint8_t*>(mask.data());
    return frame_of([&](const Schedule& schedule) {
        return s.add_mask(id, frame, image, {size, from_bitmap(pixels, size)}, how, schedule);
    });
}

}  // namespace

void bind_session(py::module_ m) {
    py::class_<Session>(m, "Session")
        .def(py::init([](const Segmenter& segmenter, std::pair<int64_t, int64_t> video,
                         int64_t frames, const py::dict& options) {
                 return std::make_unique<Session>(segmenter, Size{video.first, video.second},
                                                  frames,
                                                  read_options(kOptions, "session", options));
             }),
             py::arg("segmenter"), py::arg("video"), py::arg("frames"),
             py::arg("options") = py::dict())
        .def_static("options", [] { return defaults_of(kOptions); })
        .def_property_readonly("frames", &Session::video_frames)
        .def("set_frames", &Session::set_video_frames, py::arg("count"))
        .def("drop_prompts", &Session::drop_prompts, py::arg("frame"),
             py::call_guard<py::gil_scoped_release>(),
             "Drops the prompts that no frame from this one on looks at.")
        .def_property_readonly("ids", &Session::ids)
        .def_property_readonly("prompted_frames", &Session::prompted_frames)
        .def_property_readonly("tracked_frames", &Session::tracked_frames)
        .def("add", &add, py::arg("id"), py::arg("frame"), py::arg("image"),
             py::arg("points") = py::none(), py::arg("labels") = py::none(),
             py::arg("box") = py::none(), py::arg("manner") = py::dict())
        .def("add_mask", &add_mask, py::arg("id"), py::arg("frame"), py::arg("image"),
             py::arg("mask"), py::arg("manner") = py::dict())
        .def("unremembered", &Session::unremembered)
        .def("commit", &Session::commit)
        .def("forgotten", &Session::forgotten, py::arg("frame"), py::arg("backwards"))
        .def("forgotten_by_prompt", &Session::forgotten_by_prompt, py::arg("id"), py::arg("frame"),
             py::arg("backwards") = py::none())
        .def(
            "remember",
            [](Session& s, int64_t frame, const Embedding& image) {
                const Schedule schedule = schedule_for(nullptr);
                without_gil([&] { s.remember(frame, image, schedule); });
            },
            py::arg("frame"), py::arg("image"))
        .def(
            "track",
            [](Session& s, int64_t frame, const Embedding& image, bool backwards) {
                return frame_of([&](const Schedule& schedule) {
                    return s.track(frame, image, backwards, schedule);
                });
            },
            py::arg("frame"), py::arg("image"), py::arg("backwards") = false)
        .def(
            "masks",
            [](Session& s, int64_t frame) {
                return frame_of([&](const Schedule& schedule) { return s.masks(frame, schedule); });
            },
            py::arg("frame"))
        .def("clear", &Session::clear, py::arg("id"), py::arg("frame"))
        .def("remove", &Session::remove, py::arg("id"))
        .def("reset", &Session::reset)
        .def("state", [](const Session& s) { return state_of(s.tracks()); })
        .def(
            "restore", [](Session& s, const py::list& state) { s.restore(tracks_of(state, s)); },
            py::arg("state"));
}

}  // namespace segrid::bindings
