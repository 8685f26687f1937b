#include "bindings/mask_set_state.h"

#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstring>

#include "bindings/waiting.h"
#include "core/error.h"
#include "kernels/runs/op.h"

namespace segrid::bindings {
namespace {

constexpr int kVersion = 1;
constexpr py::ssize_t kNumbers = 10;  // box x0 y0 x1 y1, crop box x0 y0 x1 y1, point x y
constexpr py::ssize_t kScores = 3;    // predicted IoU, stability, object score

template <class T>
using Array = py::array_t<T, py::array::c_style>;

[[noreturn]] void damaged(const std::string& what) {
    invalid("masks: the pickled state is damaged (" + what + ")");
}

// Returns the value as an array of type T and the given shape (-1: any length).
template <class T>
Array<T> array_of(const py::handle& value, const std::vector<py::ssize_t>& shape,
                  const char* name) {
    if (!py::isinstance<Array<T>>(value))
        damaged(std::string(name) + " is not an array of its type");
    auto array = py::reinterpret_borrow<Array<T>>(value);
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (std::size_t i = 0; fits && i < shape.size(); ++i) {
        fits = shape[i] < 0 || array.shape(static_cast<py::ssize_t>(i)) == shape[i];
    }
    if (!fits) damaged(std::string(name) + " has another shape");
    return array;
}

Runs runs_from(const uint32_t* pairs, int64_t count, int64_t pixels) {
    Runs runs(static_cast<std::size_t>(count));
    int64_t end = -1;
    for (Run& run : runs) {
        run = {pairs[0], pairs[1]};
        pairs += 2;
        if (int64_t{run.begin} <= end || run.begin >= run.end || int64_t{run.end} > pixels) {
            damaged("its runs are not in order or leave the image");
        }
        end = run.end;
    }
    return runs;
}

ImageBox box_from(const double* v) {
    for (int i = 0; i < 4; ++i) {
        if (!std::isfinite(v[i])) damaged("a box is not finite");
    }
    return {v[0], v[1], v[2], v[3]};
}

py::dict stats_of(const Stats& stats) {
    py::dict d;
    d["seconds"] = stats.seconds;
    d["peak_memory_mb"] = stats.peak_memory_mb;
    d["batch_size"] = stats.batch_size;
    d["halved"] = stats.halved;
    d["peak_device_memory_mb"] = stats.peak_device_mb;
    return d;
}

Stats stats_from(const py::handle& value) {
    try {
        const auto d = value.cast<py::dict>();
        Stats stats;
        stats.seconds = d["seconds"].cast<std::map<std::string, double>>();
        stats.peak_memory_mb = d["peak_memory_mb"].cast<double>();
        stats.batch_size = d["batch_size"].cast<int64_t>();
        stats.halved = d["halved"].cast<int64_t>();
        stats.peak_device_mb = d["peak_device_memory_mb"].cast<double>();
        return stats;
    } catch (const py::error_already_set&) {
        damaged("its statistics are incomplete");
    } catch (const py::cast_error&) {
        damaged("its statistics are of another type");
    }
}

template <class T>
bool same(T a, T b) {
    return a == b || (std::isnan(a) && std::isnan(b));
}
bool same(const ImageBox& a, const ImageBox& b) {
    return a.x0 == b.x0 && a.y0 == b.y0 && a.x1 == b.x1 && a.y1 == b.y1;
}

bool same(const Mask& a, const Mask& b) {
    return a.runs == b.runs && same(a.box, b.box) && a.area == b.area && same(a.score, b.score) &&
           same(a.stability, b.stability) && same(a.object_score, b.object_score) &&
           same(a.point.x, b.point.x) && same(a.point.y, b.point.y) && a.prompt == b.prompt &&
           same(a.crop_box, b.crop_box);
}

bool same(const at::Tensor& a, const at::Tensor& b) {
    if (!a.defined() || !b.defined()) return a.defined() == b.defined();
    if (a.sizes() != b.sizes()) return false;
    const float *p = a.const_data_ptr<float>(), *q = b.const_data_ptr<float>();
    return std::equal(p, p + a.numel(), q, [](float x, float y) { return same(x, y); });
}

}  // namespace

py::tuple state_of(const PyMaskSet& set) {
    const std::vector<Mask>& masks = set.masks().masks();
    const auto counts = column<int64_t>(masks, 0, [](const Mask& m, int64_t* out) {
        *out = static_cast<int64_t>(m.runs.size());
        return out + 1;
    });
    py::ssize_t total = 0;
    for (const Mask& m : masks) total += static_cast<py::ssize_t>(m.runs.size());
    Array<uint32_t> runs(std::vector<py::ssize_t>{total, 2});
    uint32_t* pair = runs.mutable_data();
    for (const Mask& m : masks) {
        for (const Run& r : m.runs) {
            *pair++ = r.begin;
            *pair++ = r.end;
        }
    }
    const auto numbers = column<double>(masks, kNumbers, [](const Mask& m, double* out) {
        for (const ImageBox& b : {m.box, m.crop_box}) {
            for (const double v : {b.x0, b.y0, b.x1, b.y1}) *out++ = v;
        }
        *out++ = m.point.x;
        *out++ = m.point.y;
        return out;
    });
    const auto scores = column<float>(masks, kScores, [](const Mask& m, float* out) {
        for (const float v : {m.score, m.stability, m.object_score}) *out++ = v;
        return out;
    });
    const auto prompts = column<int64_t>(masks, 0, [](const Mask& m, int64_t* out) {
        *out = m.prompt;
        return out + 1;
    });
    py::object low_res = py::none();
    if (const at::Tensor& logits = set.low_res(); logits.defined()) {
        low_res = Array<float>({logits.size(0), logits.size(1), logits.size(2)},
                               logits.const_data_ptr<float>());
    }
    const Size size = set.masks().size();
    return py::make_tuple(kVersion, py::make_tuple(size.height, size.width), counts, runs, numbers,
                          scores, prompts, stats_of(set.stats()), low_res);
}

// Outlines are drawn into buffers of the box, which must hold all of the mask.
void check_box(const ImageBox& box, const Runs& runs, Size size) {
    if (runs.empty()) return;
    const ImageBox own = inclusive_box(runs, size);
    if (box.x0 != own.x0 || box.y0 != own.y0 || box.x1 != own.x1 || box.y1 != own.y1)
        damaged("a box is not that of its mask");
}

PyMaskSet from_state(const py::tuple& state) {
    if (state.size() != 9 || !py::isinstance<py::int_>(state[0]) ||
        state[0].cast<int64_t>() != kVersion) {
        damaged("it is not of version " + std::to_string(kVersion));
    }
    Size size;
    try {
        const auto [height, width] = state[1].cast<std::pair<int64_t, int64_t>>();
        size = {height, width};
    } catch (const py::cast_error&) {
        damaged("its size is not a pair of whole numbers");
    }
    check_size("masks", size);
    const auto counts = array_of<int64_t>(state[2], {-1}, "the number of runs");
    const py::ssize_t n = counts.shape(0);
    const auto runs = array_of<uint32_t>(state[3], {-1, 2}, "runs");
    const auto numbers = array_of<double>(state[4], {n, kNumbers}, "boxes");
    const auto scores = array_of<float>(state[5], {n, kScores}, "scores");
    const auto prompts = array_of<int64_t>(state[6], {n}, "prompts");
    MaskSet set(size);
    py::ssize_t first = 0;
    for (py::ssize_t i = 0; i < n; ++i) {
        const int64_t count = counts.at(i);
        if (count < 0 || count > runs.shape(0) - first)
            damaged("its masks have more runs than it holds");
        if (prompts.at(i) < 0) damaged("a prompt's index is negative");
        Mask m;
        m.runs = runs_from(runs.data() + 2 * first, count, size.area());
        m.area = area(m.runs);
        m.box = box_from(numbers.data() + i * kNumbers);
        check_box(m.box, m.runs, size);
        m.crop_box = box_from(numbers.data() + i * kNumbers + 4);
        m.point = {numbers.at(i, 8), numbers.at(i, 9)};
        m.score = scores.at(i, 0);
        m.stability = scores.at(i, 1);
        m.object_score = scores.at(i, 2);
        m.prompt = prompts.at(i);
        set.masks().push_back(std::move(m));
        first += count;
    }
    if (first != runs.shape(0)) damaged("it holds more runs than its masks have");
    at::Tensor low_res;
    if (!state[8].is_none()) {
        const auto logits = array_of<float>(state[8], {n, -1, -1}, "low-res logits");
        low_res = at::empty({logits.shape(0), logits.shape(1), logits.shape(2)}, at::kFloat);
        std::copy_n(logits.data(), logits.size(), low_res.mutable_data_ptr<float>());
    }
    return {std::move(set), stats_from(state[7]), std::move(low_res)};
}

bool equal(const PyMaskSet& a, const PyMaskSet& b) {
    const MaskSet &x = a.masks(), &y = b.masks();
    if (x.size().height != y.size().height || x.size().width != y.size().width ||
        x.masks().size() != y.masks().size())
        return false;
    return std::equal(x.masks().begin(), x.masks().end(), y.masks().begin(),
                      [](const Mask& p, const Mask& q) { return same(p, q); }) &&
           same(a.low_res(), b.low_res());
}

}  // namespace segrid::bindings
