// The definition in ATen operations, over the whole range at once, head by head.
#include <ATen/ATen.h>

#include "kernels/two_way/implementations.h"

namespace segrid::two_way {
namespace {

at::Tensor view(const float* p, int64_t rows, int64_t columns) {
    return at::from_blob(const_cast<float*>(p), {rows, columns}, at::kFloat);
}

// What updates have made of the keys [begin, begin + n): scale [n, 1] and weights [n, count].
struct Given {
    at::Tensor scale, weights;
    Given(const UpdatedKeys& updated, int64_t begin, int64_t n, int64_t count)
        : scale(view(updated.scale + begin, n, 1)),
          weights(at::from_blob(updated.weights[begin], {n, count}, {updated.weights.stride, 1},
                                at::kFloat)) {}
};

// The scores [n, heads, tokens] of all heads.
at::Tensor scores(const TwoWayShape& shape, const ImageSide& side, int64_t begin, int64_t n,
                  const at::Tensor& placed, const UpdatedKeys* updated) {
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
        at::Tensor rows = view(side.rows + begin * all, n, all);
        if (side.fixed != nullptr) {
            rows = rows * Given(*updated, begin, n, side.weights).scale +
                   view(side.fixed + begin * all, n, all);
        }
        const Factor block =
            side.queries.from_row(group * side.depth(shape)).from_column(place * shape.slots());
        heads.push_back(rows.narrow(1, first * side.width, members * side.width)
                            .matmul(widened(block, members * side.width, shape.tokens)));
        if (side.fixed != nullptr) {
            heads.back() += Given(*updated, begin, n, side.weights)
                                .weights.matmul(widened(side.through.from_column(h * shape.slots()),
                                                        side.weights, shape.tokens));
        }
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
        const at::Tensor p =
            (scores(u.shape, u.side, begin, n, keys + position, s.updated) + bias).softmax(2);
        const at::Tensor values = by_head(u.shape, widened(u.values, u.shape.columns(), dim));
        const at::Tensor delta =
            p.reshape({n, -1}).matmul(values.reshape({-1, dim})) + view(u.bias, 1, dim);
        const at::Tensor gamma = view(u.gamma, 1, dim).squeeze(0),
                         beta = view(u.beta, 1, dim).squeeze(0);
        const auto [updated, mean, factor] =
            at::native_layer_norm(keys + delta, {dim}, gamma, beta, u.eps);
        if (s.keys_out != nullptr) view(s.keys_out + begin * dim, n, dim).copy_(updated);
        keys = updated;
        if (s.updated != nullptr) {
            const int64_t columns = u.shape.columns();
            const Given given(*s.updated, begin, n, u.before + columns);
            if (u.before == 0) given.scale.fill_(1);
            given.weights.narrow(1, u.before, columns)
                .copy_(at::constant_pad_nd(
                    at::constant_pad_nd(p, {0, u.shape.slots() - u.shape.tokens})
                        .reshape({n, u.shape.heads * u.shape.slots()}),
                    {0, columns - u.shape.heads * u.shape.slots()}));
            given.weights.mul_(factor);
            given.scale.mul_(factor);
        }
    }
    const TokenRead& r = *s.read;
    const int64_t columns = r.shape.columns(), width = r.width();
    const at::Tensor asked =
        scores(r.shape, r.side, begin, n, keys + position, s.updated);  // [n, heads, tokens]
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
            const int64_t all = r.shape.heads * r.side.width, part = width - r.side.weights,
                          first = h / r.shape.group() * part, count = std::min(part, all - first);
            values = view(r.values + begin * all, n, all).narrow(1, first, count);
            if (r.side.fixed != nullptr) {
                const Given given(*s.updated, begin, n, r.side.weights);
                own.narrow(1, part, r.side.weights)
                    .mul_(scale.select(0, h).unsqueeze(1))
                    .add_(p.select(1, h).t().matmul(given.weights));
                values = values * given.scale;
            }
            own = own.narrow(1, 0, count);
        }
        own.mul_(scale.select(0, h).unsqueeze(1)).add_(p.select(1, h).t().matmul(values));
    }
}

}  // namespace segrid::two_way
