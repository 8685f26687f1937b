#include "bindings/mask_set.h"

#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include "bindings/mask_set_state.h"
#include "bindings/module.h"
#include "bindings/waiting.h"
#include "core/error.h"
#include "image/image.h"
#include "masks/measure.h"
#include "masks/outline.h"
#include "masks/render.h"

namespace segrid::bindings {

PyMaskSet::PyMaskSet(MaskSet masks, Stats stats, at::Tensor low_res)
    : masks_(std::make_shared<const MaskSet>(std::move(masks))),
      stats_(std::move(stats)),
      low_res_(std::move(low_res)) {}

py::array_t<bool> PyMaskSet::dense() {
    std::shared_ptr<uint8_t> data = without_gil([&] {
        const std::lock_guard lock(pixels_->mutex);
        if (!pixels_->data) pixels_->data = render_dense(*masks_);
        return pixels_->data;
    });
    const auto n = static_cast<py::ssize_t>(masks_->masks().size());
    const auto h = static_cast<py::ssize_t>(masks_->size().height),
               w = static_cast<py::ssize_t>(masks_->size().width);
    const bool* first = reinterpret_cast<const bool*>(data.get());
    return share<bool>({n, h, w}, first, std::move(data), /*writable=*/true);
}

PyMaskSet PyMaskSet::select(const std::vector<int64_t>& indices) const {
    return without_gil([&] {
        at::Tensor low_res;
        MaskSet chosen = masks_->select(indices);
        if (low_res_.defined()) {
            low_res = at::empty(
                {static_cast<int64_t>(indices.size()), low_res_.size(1), low_res_.size(2)});
            const int64_t plane = low_res_.size(1) * low_res_.size(2);
            for (std::size_t i = 0; i < indices.size(); ++i) {
                std::copy_n(low_res_.const_data_ptr<float>() + indices[i] * plane, plane,
                            low_res.mutable_data_ptr<float>() + static_cast<int64_t>(i) * plane);
            }
        }
        return PyMaskSet(std::move(chosen), stats_, std::move(low_res));
    });
}

PyMaskSet PyMaskSet::resized(int64_t height, int64_t width) const {
    return without_gil([&] { return PyMaskSet(masks_->resized({height, width}), stats_); });
}

namespace {

using Set = PyMaskSet;

const Mask& at(const Set& s, int64_t index) {
    if (index < 0 || index >= static_cast<int64_t>(s.masks().masks().size()))
        throw py::index_error("mask index out of range");
    return s.masks().masks()[static_cast<std::size_t>(index)];
}

template <class Number>
py::array_t<Number> boxes(const Set& s, ImageBox Mask::*member, bool as_xywh = false) {
    return column<Number>(s.masks().masks(), 4, [&](const Mask& m, Number* out) {
        const ImageBox& b = m.*member;
        *out++ = static_cast<Number>(b.x0);
        *out++ = static_cast<Number>(b.y0);
        // As pycocotools' toBbox, width and height are in pixels, so 1 is added to the difference
        // from an inclusive maximum. An empty mask gives zeros.
        const double extra = m.area > 0 ? 1 : 0;
        *out++ = static_cast<Number>(as_xywh ? b.x1 - b.x0 + extra : b.x1);
        *out++ = static_cast<Number>(as_xywh ? b.y1 - b.y0 + extra : b.y1);
        return out;
    });
}

py::list counts_of(const Set& s, int64_t index) {
    const Mask& mask = at(s, index);
    const auto counts = without_gil([&] { return coco_counts(mask.runs, s.masks().size()); });
    py::list list;
    for (const uint32_t c : counts) list.append(c);
    return list;
}

py::list rles_of(const Set& s) {
    const std::vector<Mask>& masks = s.masks().masks();
    const Size size = s.masks().size();
    std::vector<std::string> counts(masks.size());
    const Schedule schedule = schedule_for(nullptr);
    without_gil([&] {
        parallel_for(static_cast<int64_t>(masks.size()), schedule, [&](int64_t i, Worker&) {
            const auto index = static_cast<std::size_t>(i);
            counts[index] = compress(coco_counts(masks[index].runs, size));
        });
    });
    py::list list;
    for (const std::string& bytes : counts) {
        py::dict d;
        d["size"] = std::vector<int64_t>{size.height, size.width};
        d["counts"] = py::bytes(bytes);
        list.append(d);
    }
    return list;
}

py::array overlay(const Set& s,
                  const py::array_t<uint8_t, py::array::c_style | py::array::forcecast>& rgb,
                  double alpha) {
    if (rgb.ndim() != 3 || rgb.shape(2) != 3) invalid("overlay: the image must be (H, W, 3) uint8");
    py::array_t<uint8_t> out({rgb.shape(0), rgb.shape(1), py::ssize_t{3}});
    const ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
    uint8_t* pixels = out.mutable_data();
    without_gil([&] { render_overlay(s.masks(), view, alpha, pixels); });
    return out;
}

py::array label_map(const Set& s) {
    const Size size = s.masks().size();
    py::array_t<uint32_t> labels(
        {static_cast<py::ssize_t>(size.height), static_cast<py::ssize_t>(size.width)});
    uint32_t* data = labels.mutable_data();
    without_gil([&] { render_labels(s.masks(), data); });
    if (s.masks().masks().size() <= 65535) return labels.attr("astype")("uint16").cast<py::array>();
    return labels;
}

// One member of every mask, as a column.
template <class Number>
auto each(Number Mask::*member) {
    return [member](const Set& s) {
        return column<Number>(s.masks().masks(), 0, [&](const Mask& mask, Number* out) {
            *out = mask.*member;
            return out + 1;
        });
    };
}

py::array points(const Set& s) {
    return column<double>(s.masks().masks(), 2, [](const Mask& mask, double* out) {
        out[0] = mask.point.x;
        out[1] = mask.point.y;
        return out + 2;
    });
}

py::object low_res(const Set& s) {
    if (!s.low_res().defined()) return py::none();
    auto owner = std::make_shared<at::Tensor>(s.low_res());
    const float* data = owner->const_data_ptr<float>();
    return share<float>({owner->size(0), owner->size(1), owner->size(2)}, data, owner,
                        /*writable=*/false);
}

py::dict stats(const Set& s) {
    py::dict d;
    d["seconds"] = s.stats().seconds;
    d["peak_memory_mb"] = s.stats().peak_memory_mb;
    if (s.stats().batch_size > 0) {
        d["batch_size"] = s.stats().batch_size;
        d["halved"] = s.stats().halved;
        d["peak_device_memory_mb"] = s.stats().peak_device_mb;
    }
    return d;
}

std::size_t count_runs(const Set& s) {
    std::size_t total = 0;
    for (const Mask& mask : s.masks().masks()) total += mask.runs.size();
    return total;
}

py::array_t<bool> dense_mask(const Set& s, int64_t index) {
    const Mask& mask = at(s, index);
    const Size size = s.masks().size();
    py::array_t<bool> out(
        {static_cast<py::ssize_t>(size.height), static_cast<py::ssize_t>(size.width)});
    auto* pixels = reinterpret_cast<uint8_t*>(out.mutable_data());
    without_gil([&] {
        std::fill_n(pixels, size.area(), uint8_t{0});
        render(mask.runs, pixels);
    });
    return out;
}

py::list polygons(const Set& s, int64_t index) {
    const std::vector<Polygon> found =
        without_gil([&] { return outline(at(s, index), s.masks().size()); });
    py::list polygons;
    for (const Polygon& polygon : found) {
        py::list rings;
        for (const Ring& ring : polygon) {
            rings.append(
                column<int64_t>(ring, 2, [](const std::pair<int64_t, int64_t>& p, int64_t* out) {
                    out[0] = p.first;
                    out[1] = p.second;
                    return out + 2;
                }));
        }
        polygons.append(rings);
    }
    return polygons;
}

py::dict measured(const Set& s, const std::optional<Image>& image) {
    const std::vector<Measures> found = without_gil(
        [&] { return measure(s.masks(), image ? std::optional(image->view()) : std::nullopt); });
    py::dict d;
    d["centroid"] = column<double>(found, 2, [](const Measures& m, double* out) {
        out[0] = m.x;
        out[1] = m.y;
        return out + 2;
    });
    d["axes"] = column<double>(found, 2, [](const Measures& m, double* out) {
        out[0] = m.major;
        out[1] = m.minor;
        return out + 2;
    });
    d["angle"] = column<double>(found, 0, [](const Measures& m, double* out) {
        *out = m.angle;
        return out + 1;
    });
    d["intensity"] = column<double>(
        found, 3, [](const Measures& m, double* out) { return std::copy_n(m.intensity, 3, out); });
    return d;
}

py::object equals(const Set& a, const py::object& other) {
    if (!py::isinstance<Set>(other)) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
    const Set& b = other.cast<const Set&>();
    return py::bool_(without_gil([&] { return equal(a, b); }));
}

// What is known of the masks without their pixels.
void bind_columns(py::class_<Set>& set) {
    set.def_property_readonly("boxes", [](const Set& s) { return boxes<float>(s, &Mask::box); })
        .def_property_readonly("crop_boxes",
                               [](const Set& s) { return boxes<float>(s, &Mask::crop_box); })
        .def_property_readonly(
            "coco_bboxes",
            [](const Set& s) { return boxes<double>(s, &Mask::box, /*as_xywh=*/true); })
        .def_property_readonly("areas", each(&Mask::area))
        .def_property_readonly("scores", each(&Mask::score))
        .def_property_readonly("object_scores", each(&Mask::object_score))
        .def_property_readonly("stability", each(&Mask::stability))
        .def_property_readonly("points", &points)
        .def_property_readonly("prompt", each(&Mask::prompt))
        .def_property_readonly("low_res", &low_res)
        .def_property_readonly("stats", &stats)
        .def_property_readonly("runs", &count_runs);
}

// The masks as pixels, runs, outlines and numbers.
void bind_forms(py::class_<Set>& set) {
    set.def("dense", &Set::dense)
        .def("mask", &dense_mask)
        .def("counts", &counts_of)
        .def("rles", &rles_of)
        .def("label_map", &label_map)
        .def("polygons", &polygons, py::arg("index"))
        .def("measure", &measured, py::arg("image") = py::none())
        .def("overlay", &overlay, py::arg("rgb"), py::arg("alpha") = 0.5);
}

}  // namespace

void bind_mask_set(py::module_ m) {
    py::class_<Set> set(m, "MaskSet");
    set.def("__len__", [](const Set& s) { return s.masks().masks().size(); })
        .def_property_readonly("size",
                               [](const Set& s) {
                                   return py::make_tuple(s.masks().size().height,
                                                         s.masks().size().width);
                               })
        .def("select", &Set::select, py::arg("indices"))
        .def("resized", &Set::resized, py::arg("height"), py::arg("width"))
        .def("__eq__", &equals)
        .def(py::pickle(&state_of, &from_state));
    bind_columns(set);
    bind_forms(set);
    m.def(
        "no_masks", [](int64_t height, int64_t width) { return Set(MaskSet({height, width}), {}); },
        py::arg("height"), py::arg("width"));
}

}  // namespace segrid::bindings
