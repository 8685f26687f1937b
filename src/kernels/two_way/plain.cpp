// The definition, in ATen operations over the whole range at once.
#include <ATen/ATen.h>

#include "kernels/two_way/implementations.h"

namespace segrid::two_way {
namespace {

at::Tensor view(const float* p, int64_t rows, int64_t columns) {
    return at::from_blob(const_cast<float*>(p), {rows, columns}, at::kFloat);
}

}  // namespace

void plain(const TwoWaySweep& s, int64_t begin, int64_t end, TokenPartial& partial) {
    const int64_t n = end - begin, dim = s.shape.dim, columns = s.shape.columns();
    const int64_t live = s.shape.heads * s.shape.tokens;
    at::Tensor keys = view(s.keys_in + begin * dim, n, dim);
    const at::Tensor position = view(s.position + begin * dim, n, dim);
    const auto side = [&](const ImageSide& from) {
        return from.rows != nullptr ? view(from.rows + begin * from.width, n, from.width) : keys + position;
    };
    if (s.update != nullptr) {
        const ImageUpdate& u = *s.update;
        const at::Tensor scores = side(u.side).matmul(view(u.queries, u.side.width, columns)).narrow(1, 0, live) +
                                  view(u.query_bias, 1, columns).narrow(1, 0, live);
        const at::Tensor p = scores.reshape({n, s.shape.tokens, s.shape.heads}).softmax(1).reshape({n, live});
        const at::Tensor delta = p.matmul(view(u.values, columns, dim).narrow(0, 0, live)) + view(u.bias, 1, dim);
        const at::Tensor gamma = view(u.gamma, 1, dim).squeeze(0), beta = view(u.beta, 1, dim).squeeze(0);
        const at::Tensor updated = at::layer_norm(keys + delta, {dim}, gamma, beta, u.eps);
        view(s.keys_out + begin * dim, n, dim).copy_(updated);
        keys = updated;
    }
    if (s.read != nullptr) {
        const TokenRead& r = *s.read;
        const at::Tensor scores = side(r.side).matmul(view(r.queries, r.side.width, columns));
        at::Tensor max = view(partial.max, 1, columns), sum = view(partial.sum, 1, columns);
        at::Tensor acc = view(partial.acc, columns, r.values.width);
        const at::Tensor top = at::maximum(max, scores.amax(0, true));
        const at::Tensor scale = at::exp(max - top), p = at::exp(scores - top);
        const at::Tensor values = r.values.rows != nullptr ? view(r.values.rows + begin * r.values.width, n, r.values.width) : keys;
        acc.mul_(scale.t()).add_(p.t().matmul(values));
        sum.mul_(scale).add_(p.sum(0, true));
        max.copy_(top);
    }
}

}  // namespace segrid::two_way
