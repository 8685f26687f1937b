#include "kernels/mask_scan/batch.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace segrid {
namespace {

at::Tensor dense(const ScanAxis& axis) {  // [outputs, inputs]
    at::Tensor matrix = at::zeros({axis.outputs, axis.inputs});
    float* data = matrix.mutable_data_ptr<float>();
    for (int64_t i = 0; i < axis.outputs; ++i) {
        for (int64_t t = 0; t < axis.taps; ++t) {
            const int64_t input = axis.first[static_cast<std::size_t>(i)] + t;
            if (input < axis.inputs)
                data[i * axis.inputs + input] +=
                    axis.weights[static_cast<std::size_t>(t * axis.outputs + i)];
        }
    }
    return matrix;
}

// Returns [masks, 2]: the first and the last index that is set, or (length, -1) if none is. any:
// [masks, length].
at::Tensor ends(const at::Tensor& any) {
    const at::Tensor index = at::arange(any.size(1), any.options().dtype(at::kLong));
    return at::stack(
        {at::where(any, index, any.size(1)).amin(1), at::where(any, index, -1).amax(1)}, 1);
}

// Returns the runs of all masks, [runs, 2], and the number of runs of each. inside: [masks,
// pixels].
std::pair<at::Tensor, at::Tensor> runs_of(const at::Tensor& inside) {
    const at::Tensor border = at::zeros({inside.size(0), 1}, inside.options());
    // Marks the positions where runs begin and end, alternately.
    const at::Tensor edges = at::cat({inside, border}, 1).ne(at::cat({border, inside}, 1));
    return {edges.nonzero().select(1, 1).view({-1, 2}).to(at::kInt),
            edges.sum(1, false, at::kInt).to(at::kLong).div(2, "floor")};
}

}  // namespace

BatchScan::BatchScan(const ScanPlan& plan, at::Device device)
    : size_(plan.size()),
      rows_(dense(plan.rows()).to(device)),
      columns_(dense(plan.columns()).t().contiguous().to(device)) {}

BatchScan::Found BatchScan::operator()(
    const at::Tensor& logits, float threshold, float offset, int64_t bytes,
    const std::function<bool(int64_t, const ScanResult&)>& wanted) const {
    Found found;
    const int64_t count = logits.size(0), piece = std::max<int64_t>(1, bytes / bytes_per_mask());
    for (int64_t first = 0; first < count; first += piece) {
        const at::Tensor part = logits.narrow(0, first, std::min(piece, count - first));
        const at::Tensor values = at::bmm(rows_.unsqueeze(0).expand({part.size(0), -1, -1}),
                                          at::matmul(part, columns_)),
                         inside = values > threshold;
        const auto pixels = [](const at::Tensor& mask) {
            return mask.sum({1, 2}, false, at::kInt).to(at::kLong).unsqueeze(1);
        };
        const at::Tensor measured =
            at::cat({pixels(inside), pixels(values > threshold + offset),
                     pixels(values > threshold - offset), ends(inside.any(2)), ends(inside.any(1))},
                    1)
                .to(at::kCPU);
        std::vector<int64_t> chosen;
        for (int64_t i = 0; i < part.size(0); ++i) {
            const int64_t* m = measured.const_data_ptr<int64_t>() + 7 * i;
            ScanResult r{.area = m[0], .above = m[1], .below = m[2]};
            r.stability =
                r.below == 0 ? 0.0F : static_cast<float>(r.above) / static_cast<float>(r.below);
            if (r.area > 0) std::tie(r.y0, r.y1, r.x0, r.x1) = std::tuple(m[3], m[4], m[5], m[6]);
            found.results.push_back(r);
            if (!wanted(first + i, r)) continue;
            chosen.push_back(i);
            found.wanted.push_back(first + i);
        }
        if (chosen.empty()) continue;
        const auto [runs, counts] =
            runs_of(inside.flatten(1).index_select(0, on_device(chosen, logits.device())));
        found.runs.push_back(runs);
        const at::Tensor host = counts.to(at::kCPU);
        found.counts.insert(found.counts.end(), host.const_data_ptr<int64_t>(),
                            host.const_data_ptr<int64_t>() + host.numel());
    }
    return found;
}

at::Tensor on_device(const std::vector<int64_t>& indices, at::Device device) {
    return at::tensor(indices, at::kLong).to(device);
}

std::vector<Runs> collect_runs(const at::Tensor& runs, const std::vector<int64_t>& counts) {
    const at::Tensor host = runs.to(at::kCPU).contiguous();
    const auto* next = reinterpret_cast<const Run*>(host.const_data_ptr<int32_t>());
    std::vector<Runs> out;
    for (const int64_t count : counts) {
        out.emplace_back(next, next + count);
        next += count;
    }
    return out;
}

}  // namespace segrid
