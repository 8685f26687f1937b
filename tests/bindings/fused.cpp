// The fused kernels, one at a time, for tests against their definitions.
#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include <cmath>
#include <limits>

#include "bindings/arrays.h"
#include "bindings/waiting.h"
#include "kernels.h"
#include "kernels/attention/op.h"
#include "kernels/place_scores/op.h"
#include "kernels/two_way/op.h"
#include "kernels/upscale/op.h"
#include "models/sam2/place_attention.h"
#include "precisions.h"

namespace py = pybind11;
using segrid::bindings::without_gil;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using MaybeFloats = std::optional<Floats>;

namespace {

at::Tensor tensor(const Floats& a) {
    std::vector<int64_t> shape(a.shape(), a.shape() + a.ndim());
    return at::from_blob(const_cast<float*>(a.data()), shape, at::kFloat);
}

// q: [queries, head_dim], k: [tokens, head_dim], v: [tokens, value_dim]. Computes queries [first,
// first + rows).
Floats attention(const Floats& q, const Floats& k, const Floats& v,
                 std::pair<int64_t, int64_t> grid, const MaybeFloats& rel_h,
                 const MaybeFloats& rel_w, int64_t first, int64_t rows,
                 const std::string& precision, const MaybeFloats& bias) {
    const int64_t tokens = k.shape(0), dim = k.shape(1), width = v.shape(1);
    Floats out({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(width)});
    float* to = out.mutable_data();
    without_gil([&] {
        segrid::run_in_worker({}, [&] {
            segrid::Arena arena;
            const auto positions = rel_h ? segrid::RelativePositions(tensor(*rel_h), tensor(*rel_w))
                                         : segrid::RelativePositions();
            float* packed = arena.take<float>(segrid::PackedHead::floats(tokens, dim));
            segrid::PackedKeys keys(precision_of(precision), tokens, 1, dim);
            segrid::PackedValues values(precision_of(precision), tokens, width, width);
            segrid::PackedHead head;
            if (width == dim) {
                head = segrid::pack_head(precision_of(precision), tokens, dim, k.data(), v.data(),
                                         dim, packed, arena);
            } else {
                // The first panel alone, and the rest together.
                for (int64_t from = 0, count = std::min(segrid::kPanel, tokens); from < tokens;
                     from += count, count = tokens - from) {
                    keys.pack(from, count, {k.data(from, 0), dim}, arena);
                    values.pack(from, count, {v.data(from, 0), width});
                }
                head = {keys.of_head(0), values.from_column(0)};
            }
            const segrid::GridAttention call{.grid_h = grid.first,
                                             .grid_w = grid.second,
                                             .head_dim = dim,
                                             .value_dim = width,
                                             .scale = 0.5F,
                                             .positions = &positions,
                                             .bias = bias ? bias->data() : nullptr,
                                             .head = head};
            segrid::grid_attention(call, first, rows, q.data() + first * dim, dim, to, width,
                                   arena);
        });
    });
    return out;
}

// across: [queries, places, width + 1]; down: [queries, width + 1]; keys: [places, frames, width].
// Returns [queries, places, frames].
Floats place_scores(const Floats& across, const Floats& down, const Floats& keys, int64_t lanes) {
    const segrid::PlaceKeys of{.places = keys.shape(0),
                               .frames = keys.shape(1),
                               .width = keys.shape(2),
                               .group = lanes > 0 ? lanes : segrid::place_group()};
    const int64_t count = across.shape(0), channels = of.width + 1, step = of.frames * of.group;
    segrid::Arena arena;
    float* grouped = arena.take<float>(count * of.places * channels);
    float* packed = arena.take<float>(of.keys() * of.width);
    float* scores = arena.take<float>(count * of.keys());
    for (int64_t q = 0; q < count; ++q) {
        for (int64_t p = 0; p < of.places; ++p) {
            float* to = grouped + (p / of.group * count + q) * channels * of.group + p % of.group;
            for (int64_t c = 0; c < channels; ++c) to[c * of.group] = across.at(q, p, c);
        }
    }
    for (int64_t k = 0; k < of.keys(); ++k) {
        for (int64_t c = 0; c < of.width; ++c)
            packed[k / step * step * of.width + c * step + k % step] =
                keys.at(of.place(k), of.frame(k), c);
    }
    segrid::place_scores(of, {count, grouped, down.data()}, packed, {scores, of.keys()});
    Floats out({count, of.places, of.frames});
    for (int64_t q = 0; q < count; ++q) {
        for (int64_t k = 0; k < of.keys(); ++k)
            out.mutable_at(q, of.place(k), of.frame(k)) = scores[q * of.keys() + k];
    }
    return out;
}

// weight: [heads x head_dim, width]; q: [rows, heads x head_dim]; keys, values: [grid^2, frames,
// width]. Returns [rows, heads x width].
Floats place_attention(const Floats& weight, const Floats& bias, const Floats& q,
                       const Floats& keys, const Floats& values, int64_t heads, int64_t columns) {
    const int64_t places = keys.shape(0), rows = q.shape(0), width = keys.shape(2);
    const auto grid = static_cast<int64_t>(std::lround(std::sqrt(places)));
    const segrid::PlaceKeys row{.places = grid, .frames = keys.shape(1), .width = width};
    segrid::sam2::MemoryTokens memory;
    memory.frames = row.frames;
    memory.tokens = places * row.frames;
    memory.by_place = true;
    memory.keys = at::empty({memory.tokens, width});
    memory.values = segrid::PackedValues(segrid::Precision::Fp32, memory.tokens, width, width);
    segrid::Arena arena;
    float *packed = memory.keys.mutable_data_ptr<float>(),
          *in_order = arena.take<float>(memory.tokens * width);
    const int64_t step = row.frames * row.group;
    for (int64_t t = 0; t < memory.tokens; ++t) {
        const int64_t k = t % row.keys(), place = t / row.keys() * grid + row.place(k);
        for (int64_t c = 0; c < width; ++c) {
            packed[t / step * step * width + c * step + t % step] = keys.at(place, row.frame(k), c);
            in_order[t * width + c] = values.at(place, row.frame(k), c);
        }
    }
    memory.values.pack(0, memory.tokens, {in_order, width});
    const segrid::sam2::PlaceAttention attention(tensor(weight), tensor(bias), heads, grid, 10000.0,
                                                 /*pooling=*/1, columns);
    Floats out({rows, heads * width});
    attention(memory, rows, q.data(), out.mutable_data(), arena);
    return out;
}

// Arranges queries by columns from [heads, tokens, dim], or in blocks from [tokens, heads * width]
// if there is an image side of that width.
segrid::Factor queries_of(segrid::Precision precision, const segrid::TwoWayShape& shape,
                          const Floats& ask, int64_t width, bool blocks, segrid::Arena& arena) {
    const int64_t across = blocks ? shape.group_columns() : shape.columns();
    const int64_t depth = shape.block_depth(width);
    const int64_t rows = blocks ? shape.groups() * depth : shape.dim;
    float* matrix = arena.take<float>(rows * across);
    std::fill_n(matrix, rows * across, 0.0F);
    for (int64_t h = 0; h < shape.heads; ++h) {
        for (int64_t t = 0; t < shape.tokens; ++t) {
            for (int64_t i = 0; i < (blocks ? width : shape.dim); ++i) {
                const int64_t row =
                    blocks ? h / shape.group() * depth + h % shape.group() * width + i : i;
                const int64_t column = (blocks ? h % shape.group() : h) * shape.slots() + t;
                matrix[row * across + column] = blocks ? ask.at(t, h * width + i) : ask.at(h, t, i);
            }
        }
    }
    return segrid::make_factor(precision, rows, across, matrix, across, arena);
}

// What earlier updates have made of the keys: scale [keys], weights [keys, before]; for the update
// and for the read fixed [keys, heads * width] and through [weights, columns]; and squares [keys],
// mapped, added and products of Deviation, then the values of every update, [tokens, heads *
// width].
struct Earlier {
    std::vector<Floats> arrays;
    std::vector<float> scale, weights;
    segrid::UpdatedKeys updated;
    std::vector<segrid::Factor> values;
    int64_t before;

    Earlier(const std::vector<Floats>& given, int64_t columns)
        : arrays(given),
          scale(given[0].data(), given[0].data() + given[0].size()),
          before(given[1].shape(1)) {
        const int64_t all = before + columns, keys = given[1].shape(0);
        weights.resize(static_cast<std::size_t>(keys * all));
        for (int64_t i = 0; i < keys; ++i)
            std::copy_n(given[1].data() + i * before, before, weights.data() + i * all);
        updated = {scale.data(), {weights.data(), all}};
    }
    // which: 2 for the update, 4 for the read
    void complete(segrid::ImageSide& side, std::size_t which, segrid::Precision precision,
                  segrid::Arena& arena) const {
        const Floats& through = arrays[which + 1];
        side.fixed = arrays[which].data();
        side.weights = through.shape(0);
        side.through = segrid::make_reused_factor(precision, through.shape(0), through.shape(1),
                                                  through.data(), through.shape(1), arena);
    }
    segrid::Deviation deviation(const segrid::TwoWayShape& shape, segrid::Arena& arena) {
        const auto rows = [&](std::size_t i) {
            return segrid::Rows<const float>{arrays[i].data(), arrays[i].shape(1)};
        };
        const int64_t all = before + shape.columns(), width = arrays[10].shape(1) / shape.heads;
        for (std::size_t i = 10; i < arrays.size(); ++i) {
            values.push_back(queries_of(segrid::Precision::Fp32, shape, arrays[i], width,
                                        /*blocks=*/true, arena));
        }
        return {.width = width,
                .mapped = rows(7),
                .added = rows(8),
                .squares = arrays[6].data(),
                .values = values,
                .products = segrid::make_reused_factor(segrid::Precision::Fp32, all, all,
                                                       arrays[9].data(), all, arena)};
    }
};

// Runs one sweep in ranges of `range` keys and merges them. Returns the updated keys, and acc / sum
// of the read as [heads, tokens, width]; after earlier updates their scale and weights instead of
// the keys.
py::tuple two_way(const Floats& keys, const Floats& position, const Floats& ask, const Floats& bias,
                  const Floats& values, const Floats& gamma, const Floats& read, int64_t readers,
                  const MaybeFloats& side, const MaybeFloats& read_values, int64_t range,
                  const std::string& name, const std::vector<Floats>& earlier) {
    const segrid::Precision precision = precision_of(name);
    const int64_t heads = values.shape(0), count = keys.shape(0), dim = keys.shape(1),
                  width = side ? side->shape(1) / heads : 0;
    const segrid::TwoWayShape shape{.dim = dim,
                                    .heads = heads,
                                    .tokens = values.shape(1),
                                    .narrowest = segrid::narrowest(precision)};
    segrid::TwoWayShape asking = shape;
    asking.tokens = readers;
    segrid::Arena arena;
    float* query_bias = arena.take<float>(shape.columns());
    float* folded = arena.take<float>(shape.columns() * dim);
    std::fill_n(query_bias, shape.columns(), -std::numeric_limits<float>::infinity());
    std::fill_n(folded, shape.columns() * dim, 0.0F);
    for (int64_t h = 0; h < heads; ++h) {
        for (int64_t t = 0; t < shape.tokens; ++t) {
            query_bias[h * shape.slots() + t] = bias.at(h, t);
            std::copy_n(values.data(h, t, 0), dim, folded + (h * shape.slots() + t) * dim);
        }
    }
    const float* rows = side ? side->data() : nullptr;
    segrid::ImageUpdate update{
        .shape = shape,
        .side = {rows, width, queries_of(precision, shape, ask, width, side.has_value(), arena)},
        .query_bias = query_bias,
        .eps = 1e-5F,
        .values = segrid::make_factor(precision, shape.columns(), dim, folded, dim, arena),
        .bias = gamma.data(),
        .gamma = gamma.data(),
        .beta = gamma.data()};
    segrid::TokenRead reader{
        .shape = asking,
        .side = {read_values ? rows : nullptr, width,
                 queries_of(precision, asking, read, width, read_values.has_value(), arena)},
        .values = read_values ? read_values->data() : nullptr};
    std::optional<Earlier> before;
    if (!earlier.empty()) {
        before.emplace(earlier, shape.columns());
        before->complete(update.side, 2, precision, arena);
        before->complete(reader.side, 4, precision, arena);
        update.before = before->before;
        update.deviation = before->deviation(shape, arena);
    }
    Floats updated({keys.shape(0), keys.shape(1)}), seen({heads, readers, reader.width()});
    float *to = updated.mutable_data(), *acc = seen.mutable_data();
    const segrid::TwoWaySweep sweep{.precision = precision,
                                    .keys_in = keys.data(),
                                    .keys_out = to,
                                    .position = position.data(),
                                    .update = &update,
                                    .read = &reader,
                                    .updated = before ? &before->updated : nullptr};
    without_gil([&] {
        segrid::run_in_worker({}, [&] {
            segrid::TokenPartial all(reader, arena);
            for (int64_t k = 0; k < count; k += range) {
                segrid::TokenPartial part(reader, arena);
                segrid::two_way_sweep(sweep, k, std::min(count, k + range), part, arena);
                segrid::merge(reader, all, part);
            }
            for (int64_t h = 0; h < heads; ++h) {
                for (int64_t t = 0; t < readers; ++t) {
                    const int64_t c = h * asking.slots() + t, w = reader.width();
                    for (int64_t d = 0; d < w; ++d)
                        acc[(h * readers + t) * w + d] = all.acc[c * w + d] / all.sum[c];
                }
            }
        });
    });
    if (!before) return py::make_tuple(updated, seen);
    Floats scale(count), weights({count, before->before + shape.columns()});
    std::copy(before->scale.begin(), before->scale.end(), scale.mutable_data());
    std::copy(before->weights.begin(), before->weights.end(), weights.mutable_data());
    return py::make_tuple(scale, weights, seen);
}

// keys: [h * w, dim]; weights as torch.nn.ConvTranspose2d keeps them; hyper: [masks, c2]; features:
// those of 2 h x 2 w and of 4 h x 4 w pixels, row by row, or none. Returns [masks, 4 h, 4 w].
Floats upscale(const Floats& keys, int64_t grid_w, const Floats& w1, const Floats& b1,
               const Floats& gamma, const Floats& beta, const Floats& w2, const Floats& b2,
               const Floats& hyper, const std::string& precision,
               const std::vector<Floats>& features, const std::vector<Floats>& updated) {
    const int64_t h = keys.shape(0) / grid_w, masks = hyper.shape(0), c2 = hyper.shape(1);
    Floats out({static_cast<py::ssize_t>(masks), static_cast<py::ssize_t>(4 * h),
                static_cast<py::ssize_t>(4 * grid_w)});
    float* to = out.mutable_data();
    without_gil([&] {
        segrid::run_in_worker({}, [&] {
            segrid::Arena arena;
            const segrid::UpscaleWeights weights(tensor(w1), tensor(b1), tensor(gamma),
                                                 tensor(beta), tensor(w2), tensor(b2), 1e-6F,
                                                 precision_of(precision));
            const int64_t across = segrid::hyper_columns(masks);
            std::vector<float> columns(static_cast<std::size_t>(across * c2), 0.0F);
            for (int64_t m = 0; m < masks; ++m) {
                for (int64_t c = 0; c < c2; ++c)
                    columns[static_cast<std::size_t>(c * across + m)] = hyper.data()[m * c2 + c];
            }
            at::Tensor first, second;
            segrid::UpscaleFeatures added;
            if (!features.empty()) {
                first = segrid::in_upscale_order(tensor(features[0]), h, grid_w, 1);
                second = segrid::in_upscale_order(tensor(features[1]), h, grid_w, 2);
                added = {first.const_data_ptr<float>(), second.const_data_ptr<float>()};
            }
            segrid::UpscaleInput input{.keys = {keys.data(), keys.shape(1)},
                                       .grid_w = grid_w,
                                       .features = features.empty() ? nullptr : &added,
                                       .hyper = columns.data(),
                                       .masks = masks};
            if (!updated.empty()) {  // scale, weights, rows, basis, bias
                const int64_t depth = updated[1].shape(1), wide = updated[3].shape(1);
                input.first = {
                    .rows = updated[2].data(),
                    .bias = updated[4].data(),
                    .scale = updated[0].data(),
                    .weights = {updated[1].data(), depth},
                    .basis = segrid::make_reused_factor(precision_of(precision), depth, wide,
                                                        updated[3].data(), wide, arena),
                    .depth = depth};
            }
            segrid::upscale_masks(weights, input, 0, h, {to, 16 * h * grid_w}, arena);
        });
    });
    return out;
}

}  // namespace

void bind_fused(py::module_ m) {
    m.def("attention", &attention, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("grid"),
          py::arg("rel_h") = py::none(), py::arg("rel_w") = py::none(), py::arg("first"),
          py::arg("rows"), py::arg("precision") = "fp32", py::arg("bias") = py::none(),
          "The scale is 0.5.");
    m.def("place_scores", &place_scores, py::arg("across"), py::arg("down"), py::arg("keys"),
          py::arg("group") = 0);
    m.def("place_attention", &place_attention, py::arg("weight"), py::arg("bias"), py::arg("q"),
          py::arg("keys"), py::arg("values"), py::arg("heads"), py::arg("columns"));
    m.def("two_way", &two_way, py::arg("keys"), py::arg("position"), py::arg("ask"),
          py::arg("bias"), py::arg("values"), py::arg("gamma"), py::arg("read"), py::arg("readers"),
          py::arg("side") = py::none(), py::arg("read_values") = py::none(), py::arg("range"),
          py::arg("precision") = "fp32", py::arg("earlier") = std::vector<Floats>{},
          "ask, read: [heads, tokens, dim], or [tokens, heads * width] if there is a side of "
          "[keys, heads * width] (for read: and read_values). bias: [heads, tokens]. values: "
          "[heads, tokens, dim]. gamma also serves as the output's bias and as beta; eps is 1e-5. "
          "earlier: "
          "see Earlier.");
    m.def("upscale", &upscale, py::arg("keys"), py::arg("grid_w"), py::arg("w1"), py::arg("b1"),
          py::arg("gamma"), py::arg("beta"), py::arg("w2"), py::arg("b2"), py::arg("hyper"),
          py::arg("precision") = "fp32", py::arg("features") = std::vector<Floats>{},
          py::arg("updated") = std::vector<Floats>{});
}
