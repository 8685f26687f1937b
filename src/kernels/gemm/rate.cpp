#include "kernels/gemm/rate.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <mutex>

#include "core/trace.h"
#include "kernels/gemm/op.h"

namespace segrid {
namespace {

constexpr int64_t kRows = 64, kTogether = 20;  // products between two readings of the clock

// The fastest rate of one shape on this worker, in GFLOP/s.
double rate_of(int64_t n, int64_t k, Precision precision, double seconds, Arena& arena) {
    const Arena::Lifetime scope(arena);
    const PackedMatrix weight(at::rand({n, k}), precision);
    const at::Tensor x = at::rand({kRows, k});
    const LinearInput input = linear_input(kRows, {x.const_data_ptr<float>(), k}, weight, arena);
    float* out = arena.take<float>(kRows * n);
    int64_t fastest = 0;
    const int64_t end = trace::now() + static_cast<int64_t>(1e9 * seconds);
    for (int64_t begin = trace::now(); begin < end;) {
        for (int64_t i = 0; i < kTogether; ++i) linear_columns(input, weight, 0, n, {out, n}, {});
        const int64_t now = trace::now();
        if (fastest == 0 || now - begin < fastest) fastest = now - begin;
        begin = now;
    }
    return 2.0 * static_cast<double>(kTogether * kRows * n * k) / static_cast<double>(fastest);
}

}  // namespace

double product_rate(Precision precision, double seconds, const Schedule& schedule) {
    constexpr std::pair<int64_t, int64_t> kShapes[] = {{64, 256}, {256, 256}, {128, 1024}};
    double total = 0;
    std::mutex mutex;
    parallel_for(threads(), schedule, [&](int64_t, Worker& worker) {
        double best = 0;
        for (const auto& [n, k] : kShapes) {
            best = std::max(best,
                            rate_of(n, k, precision, seconds / std::size(kShapes), worker.arena));
        }
        const std::lock_guard lock(mutex);
        total += best;
    });
    return total;
}

}  // namespace segrid
