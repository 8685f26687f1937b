// Masks: from logits to runs, and what is done with runs.
#include <ATen/ATen.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/mask_set.h"
#include "bindings/waiting.h"
#include "core/thread_pool.h"
#include "engine/device.h"
#include "kernels.h"
#include "kernels/mask_scan/op.h"
#include "kernels/nms/op.h"
#include "masks/dedupe.h"
#include "masks/filter.h"
#include "masks/regions.h"

namespace py = pybind11;
using segrid::Size;
using segrid::bindings::without_gil;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;
using Pair = std::pair<int64_t, int64_t>;

namespace {

segrid::Runs runs_of(const Bytes& mask) {
    return segrid::from_bitmap(mask.data(), {mask.shape(0), mask.shape(1)});
}

py::array_t<bool> bitmap(const segrid::Runs& runs, Size size) {
    py::array_t<bool> out(
        {static_cast<py::ssize_t>(size.height), static_cast<py::ssize_t>(size.width)});
    auto* data = reinterpret_cast<uint8_t*>(out.mutable_data());
    std::fill_n(data, size.area(), uint8_t{0});
    segrid::render(runs, data);
    return out;
}

std::vector<Pair> pairs(const segrid::Runs& runs) {
    std::vector<Pair> out;
    for (const auto& r : runs) out.emplace_back(r.begin, r.end);
    return out;
}

// side 0 selects the one-step plan, which does not use `resized`.
py::dict scan(const Floats& logits, int64_t side, Pair resized, Pair crop, float threshold,
              float offset) {
    segrid::ScanResult r;
    segrid::Runs runs;
    const Size low_res{logits.shape(0), logits.shape(1)}, out{crop.first, crop.second};
    const auto plan = side > 0
                          ? segrid::ScanPlan(low_res, side, {resized.first, resized.second}, out)
                          : segrid::ScanPlan(low_res, out);
    const float* data = logits.data();
    without_gil([&] {
        segrid::parallel_for(1, {}, [&](int64_t, segrid::Worker& w) {
            segrid::scan(data, plan, threshold, offset, r, &runs, w.arena);
        });
    });
    py::dict d;
    d["mask"] = bitmap(runs, out);
    d["runs"] = pairs(runs);
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

void bind_runs(py::module_ m) {
    m.def("scan", &scan, py::arg("logits"), py::arg("side"), py::arg("resized"), py::arg("crop"),
          py::arg("threshold") = 0.0F, py::arg("offset") = 1.0F);
    m.def("runs", [](const Bytes& mask) { return pairs(runs_of(mask)); });
    m.def("coco_counts", [](const Bytes& mask) {
        return segrid::coco_counts(runs_of(mask), {mask.shape(0), mask.shape(1)});
    });
    m.def("from_coco_counts", [](const std::vector<uint32_t>& counts, Pair size) {
        return bitmap(segrid::from_coco_counts(counts, {size.first, size.second}),
                      {size.first, size.second});
    });
    m.def("compress",
          [](const std::vector<uint32_t>& counts) { return py::bytes(segrid::compress(counts)); });
    m.def("decompress", [](const py::bytes& bytes) { return segrid::decompress(bytes); });
    m.def("intersection", [](const Bytes& a, const Bytes& b) {
        return segrid::intersection(runs_of(a), runs_of(b));
    });
    m.def("inclusive_box", [](const Bytes& mask) {
        const auto b = segrid::inclusive_box(runs_of(mask), {mask.shape(0), mask.shape(1)});
        return std::vector<double>{b.x0, b.y0, b.x1, b.y1};
    });
    m.def("translate", [](const Bytes& mask, Pair image, int64_t dx, int64_t dy) {
        const Size to{image.first, image.second};
        return bitmap(segrid::translate(runs_of(mask), {mask.shape(0), mask.shape(1)}, to, dx, dy),
                      to);
    });
    m.def("resize_nearest", [](const Bytes& mask, Pair to) {
        return bitmap(segrid::resize_nearest(runs_of(mask), {mask.shape(0), mask.shape(1)},
                                             {to.first, to.second}),
                      {to.first, to.second});
    });
    // Makes an engine MaskSet from dense masks, to test its methods.
    m.def("mask_set",
          [](const Bytes& masks) { return segrid::bindings::PyMaskSet(set_of(masks), {}); });
}

void bind_suppression(py::module_ m) {
    m.def("box_nms", [](const Floats& boxes, const Floats& scores, double threshold) {
        return segrid::box_nms(boxes.data(), scores.data(), scores.size(), threshold);
    });
    m.def("mask_nms", [](const Bytes& masks, const std::vector<int64_t>& order, double t) {
        return segrid::mask_nms(set_of(masks), order, t);
    });
    m.def(
        "containment",
        [](const Bytes& masks, const std::vector<int64_t>& order, double t,
           const std::vector<int>& crops, double across) {
            auto set = set_of(masks);
            for (std::size_t i = 0; i < crops.size(); ++i) set.masks()[i].crop_box.x0 = crops[i];
            return segrid::containment(set, order, {.same_crop = t, .across_crops = across});
        },
        py::arg(), py::arg(), py::arg(), py::arg("crops") = std::vector<int>{},
        py::arg("across") = 1.0);
    m.def("near_crop_edge",
          [](std::array<double, 4> b, std::array<double, 4> c, Pair image, double atol) {
              return segrid::near_crop_edge({b[0], b[1], b[2], b[3]}, {c[0], c[1], c[2], c[3]},
                                            {image.first, image.second}, atol);
          });
}

void bind_regions(py::module_ m) {
    m.def(
        "remove_small_regions",
        [](Bytes mask, int64_t min_area, bool holes, int connectivity) {
            const Size size{mask.shape(0), mask.shape(1)};
            segrid::Runs runs = runs_of(mask);
            const bool changed = segrid::remove_small_regions(
                runs, size, min_area, holes ? segrid::Region::Holes : segrid::Region::Islands,
                static_cast<segrid::Connectivity>(connectivity));
            return py::make_tuple(bitmap(runs, size), changed);
        },
        py::arg(), py::arg(), py::arg(), py::arg("connectivity") = 8);
    m.def(
        "fill_small_regions",
        [](const py::array_t<float, py::array::c_style | py::array::forcecast>& logits,
           int64_t holes, int64_t sprinkles, float threshold) {
            py::array_t<float> out({logits.shape(0), logits.shape(1)});
            std::copy_n(logits.data(), logits.size(), out.mutable_data());
            segrid::fill_small_regions(out.mutable_data(), {logits.shape(0), logits.shape(1)},
                                       {holes, sprinkles, threshold});
            return out;
        },
        py::arg(), py::arg(), py::arg(), py::arg("threshold") = 0.0F);
    m.def(
        "fill_small_regions_on",
        [](const std::string& device,
           const py::array_t<float, py::array::c_style | py::array::forcecast>& logits,
           int64_t holes, int64_t sprinkles, float threshold, int64_t bytes) {
            py::array_t<float> out({logits.shape(0), logits.shape(1), logits.shape(2)});
            const segrid::ResolvedDevice place = segrid::resolve_device(device);
            segrid::run_on_devices({}, [&] {
                const at::Tensor all =
                    at::from_blob(const_cast<float*>(logits.data()),
                                  {logits.shape(0), logits.shape(1), logits.shape(2)})
                        .to(place.plain.value());
                const at::Tensor filled =
                    segrid::fill_small_regions(all, {holes, sprinkles, threshold}, bytes)
                        .to(at::kCPU)
                        .contiguous();
                std::copy_n(filled.const_data_ptr<float>(), filled.numel(), out.mutable_data());
            });
            return out;
        },
        py::arg("device"), py::arg("logits"), py::arg("holes"), py::arg("sprinkles"),
        py::arg("threshold") = 0.0F, py::arg("bytes") = int64_t{64} << 20);
    m.def("postprocess_small_regions", [](const Bytes& masks, int64_t min_area, double threshold) {
        auto set = set_of(masks);
        segrid::postprocess_small_regions(set, min_area, segrid::Connectivity::Eight, threshold,
                                          {});
        std::vector<int64_t> kept;
        py::list pixels;
        for (const auto& k : set.masks()) {
            kept.push_back(k.prompt);
            pixels.append(bitmap(k.runs, set.size()));
        }
        return py::make_tuple(kept, pixels);
    });
}

}  // namespace

void bind_masks(py::module_ m) {
    bind_runs(m);
    bind_suppression(m);
    bind_regions(m);
}
