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

// rows[n, heads * width] times the blocks: [n, heads, count], for the first `count` slots of each
// head.
at::Tensor by_blocks(const TwoWayShape& shape, int64_t width, const at::Tensor& rows,
                     const Factor& blocks, int64_t count) {
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < shape.heads; ++h) {
        const int64_t group = h / shape.group(), place = h % shape.group(),
                      first = group * shape.group();
        const int64_t members = std::min(shape.group(), shape.heads - first);
        const Factor block =
            blocks.from_row(group * shape.block_depth(width)).from_column(place * shape.slots());
        heads.push_back(rows.narrow(1, first * width, members * width)
                            .matmul(widened(block, members * width, count)));
    }
    return at::stack(heads, 1);
}

// The scores [n, heads, tokens] of all heads.
at::Tensor scores(const TwoWayShape& shape, const ImageSide& side, int64_t begin, int64_t n,
                  const at::Tensor& placed, const UpdatedKeys* updated) {
    if (side.rows == nullptr) {
        std::vector<at::Tensor> heads;
        for (int64_t h = 0; h < shape.heads; ++h) {
            const Factor own = side.queries.from_column(h * shape.slots());
            heads.push_back(placed.matmul(widened(own, shape.dim, shape.tokens)));
        }
        return at::stack(heads, 1);
    }
    const int64_t all = shape.heads * side.width;
    const at::Tensor rows = view(side.rows + begin * all, n, all);
    if (side.fixed == nullptr)
        return by_blocks(shape, side.width, rows, side.queries, shape.tokens);
    const Given given(*updated, begin, n, side.weights);
    const at::Tensor through = widened(side.through, side.weights, shape.columns())
                                   .narrow(1, 0, shape.heads * shape.slots())
                                   .view({side.weights, shape.heads, shape.slots()})
                                   .narrow(2, 0, shape.tokens);
    return by_blocks(shape, side.width, rows * given.scale + view(side.fixed + begin * all, n, all),
                     side.queries, shape.tokens) +
           at::einsum("kw,wht->kht", {given.weights, through});
}

// The rows of each head's tokens in a matrix of `columns` rows: [heads, tokens, width].
at::Tensor by_head(const TwoWayShape& shape, const at::Tensor& rows) {
    return rows.narrow(0, 0, shape.heads * shape.slots())
        .view({shape.heads, shape.slots(), rows.size(1)})
        .narrow(1, 0, shape.tokens);
}

// The keys after the update.
at::Tensor updated_keys(const ImageUpdate& u, const at::Tensor& p, const at::Tensor& keys) {
    const int64_t dim = u.shape.dim;
    const at::Tensor values = by_head(u.shape, widened(u.values, u.shape.columns(), dim));
    const at::Tensor sums = keys + p.reshape({keys.size(0), -1}).matmul(values.reshape({-1, dim})) +
                            view(u.bias, 1, dim);
    return at::layer_norm(sums, {dim}, view(u.gamma, 1, dim).squeeze(0),
                          view(u.beta, 1, dim).squeeze(0), u.eps);
}

// The same for keys that are known by their scale and weights.
void update_weights(const ImageUpdate& u, const UpdatedKeys& updated, const at::Tensor& p,
                    int64_t begin) {
    const Deviation& d = u.deviation;
    const int64_t n = p.size(0), columns = u.shape.columns(), all = u.before + columns,
                  live = u.shape.heads * u.shape.slots(), mapped = u.shape.heads * d.width;
    const Given given(updated, begin, n, all);
    if (u.before == 0) given.scale.fill_(1);
    const at::Tensor own = at::constant_pad_nd(p, {0, u.shape.slots() - u.shape.tokens});
    given.weights.narrow(1, u.before, columns)
        .copy_(at::constant_pad_nd(own.reshape({n, live}), {0, columns - live}));
    const at::Tensor products = widened(d.products, all, all).triu();
    at::Tensor variance = given.scale * given.scale * view(d.squares + begin, n, 1) +
                          (given.weights.matmul(products) * given.weights).sum(1, /*keepdim=*/true);
    for (std::size_t i = 0; i < d.values.size(); ++i) {
        const auto j = static_cast<int64_t>(i);
        const at::Tensor rows = at::from_blob(const_cast<float*>(d.mapped[begin]) + j * mapped,
                                              {n, mapped}, {d.mapped.stride, 1}, at::kFloat);
        const at::Tensor added = at::from_blob(const_cast<float*>(d.added[begin]) + j, {n, 1},
                                               {d.added.stride, 1}, at::kFloat);
        at::Tensor through = by_blocks(u.shape, d.width, rows, d.values[i], u.shape.slots());
        through.select(1, 0).add_(added);
        const at::Tensor weights =
            given.weights.narrow(1, j * columns, live).view({n, u.shape.heads, u.shape.slots()});
        variance = variance + given.scale * (through * weights).sum({1, 2}).unsqueeze(1);
    }
    const at::Tensor factor = (variance.clamp_min(0) + u.eps).rsqrt();
    given.weights.mul_(factor);
    given.scale.mul_(factor);
}

}  // namespace

void plain(const TwoWaySweep& s, int64_t begin, int64_t end, TokenPartial& partial, Arena& arena) {
    (void)arena;
    const int64_t n = end - begin, dim = s.read->shape.dim;
    at::Tensor keys, position;
    if (s.updated == nullptr) {
        keys = view(s.keys_in + begin * dim, n, dim);
        position = view(s.position + begin * dim, n, dim);
    }
    const auto placed = [&] { return keys.defined() ? keys + position : at::Tensor(); };
    if (s.update != nullptr) {
        const ImageUpdate& u = *s.update;
        const at::Tensor bias =
            by_head(u.shape, view(u.query_bias, u.shape.columns(), 1)).squeeze(2);
        const at::Tensor p =
            (scores(u.shape, u.side, begin, n, placed(), s.updated) + bias).softmax(2);
        if (s.updated != nullptr) {
            update_weights(u, *s.updated, p, begin);
        } else {
            keys = updated_keys(u, p, keys);
            view(s.keys_out + begin * dim, n, dim).copy_(keys);
        }
    }
    const TokenRead& r = *s.read;
    const int64_t columns = r.shape.columns(), width = r.width();
    const at::Tensor asked =
        scores(r.shape, r.side, begin, n, placed(), s.updated);  // [n, heads, tokens]
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
