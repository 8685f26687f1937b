// Times building blocks inside the engine, for benchmarks/.
#include <ATen/Functions.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>

#include "bindings/arrays.h"
#include "bindings/waiting.h"
#include "core/thread_pool.h"
#include "kernels.h"
#include "kernels/gemm/op.h"
#include "kernels/mask_scan/op.h"
#include "precisions.h"

namespace py = pybind11;
using segrid::bindings::without_gil;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Pair = std::pair<int64_t, int64_t>;

namespace {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// Returns the GFLOP/s of out[rows, n] = x[rows, k] W on one worker: the median over repetitions of
// about `seconds` in total.
double linear_rate(const std::string& precision, int64_t rows, int64_t n, int64_t k,
                   double seconds) {
    double rate = 0;
    without_gil([&] {
        segrid::run_in_worker({}, [&] {
            const segrid::PackedMatrix w(at::rand({n, k}), precision_of(precision));
            const at::Tensor x = at::rand({rows, k});
            at::Tensor out = at::empty({rows, n});
            std::vector<double> times;
            for (const double end = now() + seconds; now() < end || times.size() < 3;) {
                const double begin = now();
                segrid::linear(rows, {x.const_data_ptr<float>(), k}, w,
                               {out.mutable_data_ptr<float>(), n});
                times.push_back(now() - begin);
            }
            std::nth_element(times.begin(),
                             times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                             times.end());
            rate = 2e-9 * static_cast<double>(rows * n * k) / times[times.size() / 2];
        });
    });
    return rate;
}

// Scans low-res logits [masks, h, w] of an image `crop` that was resized to `resized` inside a
// square `side`. Returns (area, x0, y0, x1, y1, stability, runs) per mask, with masks in parallel.
// With rle, the runs are compressed to COCO RLE, and its bytes are counted instead of the runs.
using Scanned = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, float, std::size_t>;
std::vector<Scanned> scan_all(const Floats& logits, int64_t side, Pair resized, Pair crop,
                              float offset, bool rle) {
    const segrid::Size low{logits.shape(1), logits.shape(2)};
    const segrid::ScanPlan plan(low, side, {resized.first, resized.second},
                                {crop.first, crop.second});
    std::vector<Scanned> found(static_cast<std::size_t>(logits.shape(0)));
    const float* data = logits.data();
    without_gil([&] {
        segrid::parallel_for(
            static_cast<int64_t>(found.size()), {}, [&](int64_t i, segrid::Worker& worker) {
                segrid::ScanResult r;
                thread_local segrid::Runs runs;
                segrid::scan(data + i * low.area(), plan, 0.0F, offset, r, &runs, worker.arena);
                found[static_cast<std::size_t>(i)] = {
                    r.area,
                    r.x0,
                    r.y0,
                    r.x1,
                    r.y1,
                    r.stability,
                    rle ? segrid::compress(segrid::coco_counts(runs, plan.size())).size()
                        : runs.size()};
            });
    });
    return found;
}

}  // namespace

void bind_speed(py::module_ m) {
    m.def("linear_rate", &linear_rate, py::arg("precision"), py::arg("rows"), py::arg("n"),
          py::arg("k"), py::arg("seconds") = 0.5);
    m.def("scan_all", &scan_all, py::arg("logits"), py::arg("side"), py::arg("resized"),
          py::arg("crop"), py::arg("offset") = 1.0F, py::arg("rle") = false);
}
