// Mask building blocks, for tests.
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/waiting.h"
#include "core/thread_pool.h"
#include "kernels/mask_scan/op.h"
#include "kernels/nms/op.h"
#include "masks/dedupe.h"
#include "masks/filter.h"
#include "masks/regions.h"
#include "prompts/crops.h"
#include "prompts/grid.h"

namespace py = pybind11;
using segrid::Size;
using segrid::bindings::without_gil;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;
using Pair = std::pair<int64_t, int64_t>;

namespace {

segrid::Runs runs_of(const Bytes& mask) { return segrid::from_bitmap(mask.data(), {mask.shape(0), mask.shape(1)}); }

py::array_t<bool> bitmap(const segrid::Runs& runs, Size size) {
    py::array_t<bool> out({static_cast<py::ssize_t>(size.height), static_cast<py::ssize_t>(size.width)});
    auto* data = reinterpret_cast<uint8_t*>(out.mutable_data());
    std::fill_n(data, size.area(), uint8_t{0});
    segrid::render(runs, data);
    return out;
}

py::dict scan(const Floats& logits, int64_t side, Pair resized, Pair crop, float threshold, float offset) {
    segrid::ScanResult r;
    segrid::Runs runs;
    const segrid::ScanPlan plan({logits.shape(0), logits.shape(1)}, side, {resized.first, resized.second}, {crop.first, crop.second});
    const float* data = logits.data();
    without_gil([&] {
        segrid::parallel_for(1, {}, [&](int64_t, segrid::Worker& w) { segrid::scan(data, plan, threshold, offset, r, &runs, w.arena); });
    });
    py::dict d;
    d["mask"] = bitmap(runs, {crop.first, crop.second});
    d["area"] = r.area;
    d["above"] = r.above;
    d["below"] = r.below;
    d["stability"] = r.stability;
    d["box"] = std::vector<int64_t>{r.x0, r.y0, r.x1, r.y1};
    return d;
}

segrid::MaskSet set_of(const Bytes& masks) {
    const Size size{masks.shape(1), masks.shape(2)};
    segrid::MaskSet set(size);
    for (py::ssize_t i = 0; i < masks.shape(0); ++i) {
        segrid::Mask m;
        m.runs = segrid::from_bitmap(masks.data(i, 0, 0), size);
        m.area = segrid::area(m.runs);
        m.box = segrid::inclusive_box(m.runs, size);
        m.prompt = i;
        set.masks().push_back(std::move(m));
    }
    return set;
}

}  // namespace

void bind_mask_kernels(py::module_ m) {
    m.def("scan", &scan, py::arg("logits"), py::arg("side"), py::arg("resized"), py::arg("crop"), py::arg("threshold") = 0.0F,
          py::arg("offset") = 1.0F);
    m.def("box_nms", [](const Floats& boxes, const Floats& scores, double threshold) {
        return segrid::box_nms(boxes.data(), scores.data(), scores.size(), threshold);
    });
    m.def("coco_counts", [](const Bytes& mask) { return segrid::coco_counts(runs_of(mask), {mask.shape(0), mask.shape(1)}); });
    m.def("from_coco_counts", [](const std::vector<uint32_t>& counts, Pair size) {
        return bitmap(segrid::from_coco_counts(counts, {size.first, size.second}), {size.first, size.second});
    });
    m.def("compress", [](const std::vector<uint32_t>& counts) { return py::bytes(segrid::compress(counts)); });
    m.def("decompress", [](const py::bytes& bytes) { return segrid::decompress(bytes); });
    m.def("intersection", [](const Bytes& a, const Bytes& b) { return segrid::intersection(runs_of(a), runs_of(b)); });
    m.def("inclusive_box", [](const Bytes& mask) {
        const auto b = segrid::inclusive_box(runs_of(mask), {mask.shape(0), mask.shape(1)});
        return std::vector<double>{b.x0, b.y0, b.x1, b.y1};
    });
    m.def("translate", [](const Bytes& mask, Pair image, int64_t dx, int64_t dy) {
        const Size to{image.first, image.second};
        return bitmap(segrid::translate(runs_of(mask), {mask.shape(0), mask.shape(1)}, to, dx, dy), to);
    });
    m.def("resize_nearest", [](const Bytes& mask, Pair to) {
        return bitmap(segrid::resize_nearest(runs_of(mask), {mask.shape(0), mask.shape(1)}, {to.first, to.second}), {to.first, to.second});
    });
    m.def("mask_nms", [](const Bytes& masks, const std::vector<int64_t>& order, double t) { return segrid::mask_nms(set_of(masks), order, t); });
    m.def("containment", [](const Bytes& masks, const std::vector<int64_t>& order, double t) { return segrid::containment(set_of(masks), order, t); });
    m.def("near_crop_edge", [](std::array<double, 4> b, std::array<double, 4> c, Pair image, double atol) {
        return segrid::near_crop_edge({b[0], b[1], b[2], b[3]}, {c[0], c[1], c[2], c[3]}, {image.first, image.second}, atol);
    });
    m.def("remove_small_regions", [](Bytes mask, int64_t min_area, bool holes) {
        Bytes copy({mask.shape(0), mask.shape(1)});
        std::copy_n(mask.data(), mask.size(), copy.mutable_data());
        const bool changed = segrid::remove_small_regions(copy.mutable_data(), {mask.shape(0), mask.shape(1)}, min_area,
                                                          holes ? segrid::Region::Holes : segrid::Region::Islands);
        return py::make_tuple(copy, changed);
    });
    m.def("postprocess_small_regions", [](const Bytes& masks, int64_t min_area, double threshold) {
        const auto set = segrid::postprocess_small_regions(set_of(masks), min_area, threshold, {});
        std::vector<int64_t> kept;
        py::list pixels;
        for (const auto& k : set.masks()) {
            kept.push_back(k.prompt);
            pixels.append(bitmap(k.runs, set.size()));
        }
        return py::make_tuple(kept, pixels);
    });
    m.def("generate_crop_boxes", [](Pair image, int64_t layers, double ratio) {
        const auto plan = segrid::generate_crop_boxes({image.first, image.second}, layers, ratio);
        std::vector<std::array<double, 4>> boxes;
        for (const auto& b : plan.boxes) boxes.push_back({b.x0, b.y0, b.x1, b.y1});
        return py::make_tuple(boxes, plan.layers);
    });
    m.def("build_point_grid", [](int64_t n) {
        std::vector<std::array<double, 2>> out;
        for (const auto& p : segrid::build_point_grid(n)) out.push_back({p.x, p.y});
        return out;
    });
}
