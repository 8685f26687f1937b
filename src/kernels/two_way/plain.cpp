// The definition in ATen operations, over the whole range at once, head by head.
#include <ATen/ATen.h>

#include "kernels/two_way/implementations.h"

namespace segrid::two_way {
namespace {

at::Tensor view(const float* p, int64_t rows, int64_t columns) {
    return at::from_blob(const_cast<float*>(p), {rows, columns}, at::kFloat);
}

// The scores [n, heads, tokens] of all heads.
at::Tensor scores(const TwoWayShape& shape, const ImageSide& side, int64_t begin, int64_t n,
                  const at::Tensor& placed) {
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < shape.heads; ++h) {
        if (side.rows == nullptr) {
            const Factor own = side.queries.from_column(h * shape.slots());
            heads.push_back(placed.matmul(widened(own, shape.dim, shape.tokens)));
            continue;
        }
        const int64_t group = h / shape.group(), place = h % shape.group(),
                      first = group * shape.group();
        const int64_t members = std::min(shape.group(), shape.heads - first),
                      all = shape.heads * side.width;
        const at::Tensor rows = view(side.rows + begin * all, n, all)
                                    .narrow(1, first * side.width, members * side.width);
        const Factor block =
            side.queries.from_row(group * side.depth(shape)).from_column(place * shape.slots());
        heads.push_back(rows.matmul(widened(block, members * side.width, shape.tokens)));
    }
    return at::stack(heads, 1);
}

// The rows of each head's tokens in a matrix of `columns` rows: [heads, tokens, width].
at::Tensor by_head(const TwoWayShape& shape, const at::Tensor& rows) {
    return rows.narrow(0, 0, shape.heads * shape.slots())
        .view({shape.heads, shape.slots(), rows.size(1)})
        .narrow(1, 0, shape.tokens);
}

}  // namespace

void plain(const TwoWaySweep& s, int64_t begin, int64_t end, TokenPartial& partial, Arena& arena) {
    (void)arena;
    const int64_t n = end - begin, dim = s.read->shape.dim;
    at::Tensor keys = view(s.keys_in + begin * dim, n, dim);
    const at::Tensor position = view(s.position + begin * dim, n, dim);
    if (s.update != nullptr) {
        const ImageUpdate& u = *s.update;
        const at::Tensor bias =
            by_head(u.shape, view(u.query_bias, u.shape.columns(), 1)).squeeze(2);
        const at::Tensor p = (scores(u.shape, u.side, begin, n, keys + position) + bias).softmax(2);
        const at::Tensor values = by_head(u.shape, widened(u.values, u.shape.columns(), dim));
        const at::Tensor delta =
            p.reshape({n, -1}).matmul(values.reshape({-1, dim})) + view(u.bias, 1, dim);
        const at::Tensor gamma = view(u.gamma, 1, dim).squeeze(0),
                         beta = view(u.beta, 1, dim).squeeze(0);
        const at::Tensor updated = at::layer_norm(keys + delta, {dim}, gamma, beta, u.eps);
        view(s.keys_out + begin * dim, n, dim).copy_(updated);
        keys = updated;
    }
    const TokenRead& r = *s.read;
    const int64_t columns = r.shape.columns(), width = r.width();
    const at::Tensor asked =
        scores(r.shape, r.side, begin, n, keys + position);  // [n, heads, tokens]
    at::Tensor max = by_head(r.shape, view(partial.max, columns, 1)).squeeze(2),
               sum = by_head(r.shape, view(partial.sum, columns, 1)).squeeze(2);
    const at::Tensor acc = by_head(r.shape, view(partial.acc, columns, width));
    const at::Tensor top = at::maximum(max, asked.amax(0)), scale = at::exp(max - top),
                     p = at::exp(asked - top);
    sum.mul_(scale).add_(p.sum(0));
    max.copy_(top);
    for (int64_t h = 0; h < r.shape.heads; ++h) {
        at::Tensor values = keys, own = acc.select(0, h);
        if (r.values != nullptr) {
            const int64_t all = r.shape.heads * r.side.width, first = h / r.shape.group() * width,
                          count = std::min(width, all - first);
            values = view(r.values + begin * all, n, all).narrow(1, first, count);
            own = own.narrow(1, 0, count);
        }
        own.mul_(scale.select(0, h).unsqueeze(1)).add_(p.select(1, h).t().matmul(values));
    }
}

}  // namespace segrid::two_way
