#include "models/mask_decoder/key_deviation.h"

#include <ATen/Functions.h>

#include "models/mask_decoder/projection.h"

namespace segrid::mask_decoder {

KeyDeviation::KeyDeviation(const std::vector<at::Tensor>& maps) {
    const double twice = 2.0 / static_cast<double>(maps.front().size(1));
    std::vector<at::Tensor> weights, added;
    for (const at::Tensor& map : maps) {
        const int64_t inner = map.size(0) - 1;
        weights.push_back(map.narrow(0, 0, inner) * twice);
        added.push_back(map.narrow(0, inner, 1) * twice);
    }
    maps_ = PackedMatrix(at::cat(weights), Precision::Fp32);
    added_ = at::cat(added).t();
}

SharedDeviation KeyDeviation::share(const at::Tensor& keys, const Schedule& schedule) const {
    SharedDeviation shared;
    at::Tensor centred;
    run_in_worker(schedule, [&] {
        centred = keys - keys.mean(1, /*keepdim=*/true);
        shared.squares = centred.square().mean(1);
        shared.added = centred.matmul(added_);
    });
    shared.mapped = project(maps_, nullptr, centred, schedule);
    return shared;
}

}  // namespace segrid::mask_decoder
