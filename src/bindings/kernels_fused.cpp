// The fused kernels, each on its own, for tests against their definitions.
#include <ATen/Functions.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/waiting.h"
#include "engine/scratch.h"
#include "kernels/attention/op.h"
#include "kernels/two_way/op.h"
#include "kernels/upscale/op.h"

namespace py = pybind11;
using segrid::bindings::without_gil;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using MaybeFloats = std::optional<Floats>;

namespace {

at::Tensor tensor(const Floats& a) {
    std::vector<int64_t> shape(a.shape(), a.shape() + a.ndim());
    return at::from_blob(const_cast<float*>(a.data()), shape, at::kFloat);
}

// q, k, v: [tokens, head_dim]; queries [first, first + rows).
Floats attention(const Floats& q, const Floats& k, const Floats& v, std::pair<int64_t, int64_t> grid, const MaybeFloats& rel_h,
                 const MaybeFloats& rel_w, int64_t first, int64_t rows) {
    const int64_t tokens = k.shape(0), dim = k.shape(1);
    Floats out({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(dim)});
    float* to = out.mutable_data();
    without_gil([&] {
        segrid::run_in_worker({}, [&] {
            const segrid::Scratch scratch;
            const auto positions = rel_h ? segrid::RelativePositions(tensor(*rel_h), tensor(*rel_w)) : segrid::RelativePositions();
            float* panels = scratch.arena().take<float>(segrid::PackedHead::key_floats(tokens, dim));
            segrid::pack_keys(tokens, dim, k.data(), dim, panels);
            const segrid::GridAttention call{.grid_h = grid.first, .grid_w = grid.second, .head_dim = dim, .scale = 0.5F,
                                             .positions = &positions, .head = {.keys = panels, .values = v.data()}};
            segrid::grid_attention(call, first, rows, q.data() + first * dim, dim, to, dim, scratch.arena());
        });
    });
    return out;
}

// One sweep in ranges of `range` keys, merged: returns updated keys and what was read (acc / sum).
py::tuple two_way(const Floats& keys, const Floats& position, int64_t heads, int64_t tokens, const Floats& ask, const Floats& bias,
                  const Floats& values, const Floats& gamma, const Floats& read, const MaybeFloats& side, int64_t range) {
    const segrid::TwoWayShape shape{.dim = keys.shape(1), .heads = heads, .tokens = tokens};
    const int64_t count = keys.shape(0), columns = shape.columns(), width = side ? side->shape(1) : shape.dim;
    Floats updated({keys.shape(0), keys.shape(1)}), seen({static_cast<py::ssize_t>(columns), static_cast<py::ssize_t>(shape.dim)});
    float *to = updated.mutable_data(), *acc = seen.mutable_data();
    const segrid::ImageSide from{side ? side->data() : nullptr, width};
    const segrid::ImageUpdate update{.side = from, .queries = ask.data(), .query_bias = bias.data(), .values = values.data(),
                                     .bias = gamma.data(), .gamma = gamma.data(), .beta = gamma.data(), .eps = 1e-5F};
    const segrid::TokenRead reader{.side = {nullptr, shape.dim}, .queries = read.data(), .values = {nullptr, shape.dim}};
    const segrid::TwoWaySweep sweep{.shape = shape, .keys_in = keys.data(), .keys_out = to, .position = position.data(),
                                    .update = &update, .read = &reader};
    without_gil([&] {
        segrid::run_in_worker({}, [&] {
            const segrid::Scratch scratch;
            const auto partial = [&] {
                segrid::TokenPartial p{scratch.arena().take<float>(columns), scratch.arena().take<float>(columns),
                                       scratch.arena().take<float>(columns * shape.dim)};
                p.reset(columns, shape.dim);
                return p;
            };
            segrid::TokenPartial all = partial();
            for (int64_t k = 0; k < count; k += range) {
                segrid::TokenPartial part = partial();
                segrid::two_way_sweep(sweep, k, std::min(count, k + range), part, scratch.arena());
                segrid::merge(columns, shape.dim, all, part);
            }
            for (int64_t c = 0; c < columns; ++c) {
                for (int64_t d = 0; d < shape.dim; ++d) acc[c * shape.dim + d] = all.acc[c * shape.dim + d] / all.sum[c];
            }
        });
    });
    return py::make_tuple(updated, seen);
}

// keys: [h * w, dim]; weights as torch.nn.ConvTranspose2d keeps them; hyper: [masks, c2]. Returns [masks, 4 h, 4 w].
Floats upscale(const Floats& keys, int64_t grid_w, const Floats& w1, const Floats& b1, const Floats& gamma, const Floats& beta,
               const Floats& w2, const Floats& b2, const Floats& hyper) {
    const int64_t h = keys.shape(0) / grid_w, masks = hyper.shape(0), c2 = hyper.shape(1);
    Floats out({static_cast<py::ssize_t>(masks), static_cast<py::ssize_t>(4 * h), static_cast<py::ssize_t>(4 * grid_w)});
    float* to = out.mutable_data();
    without_gil([&] {
        segrid::run_in_worker({}, [&] {
            const segrid::Scratch scratch;
            const segrid::UpscaleWeights weights(tensor(w1), tensor(b1), tensor(gamma), tensor(beta), tensor(w2), tensor(b2), 1e-6F);
            std::vector<float> columns(static_cast<std::size_t>(16 * c2), 0.0F);
            for (int64_t m = 0; m < masks; ++m) {
                for (int64_t c = 0; c < c2; ++c) columns[static_cast<std::size_t>(c * 16 + m)] = hyper.data()[m * c2 + c];
            }
            segrid::upscale_masks(weights, keys.data(), keys.shape(1), grid_w, 0, h, columns.data(), masks, to, 16 * h * grid_w,
                                  scratch.arena());
        });
    });
    return out;
}

}  // namespace

void bind_fused_kernels(py::module_ m) {
    m.def("attention", &attention, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("grid"), py::arg("rel_h") = py::none(),
          py::arg("rel_w") = py::none(), py::arg("first"), py::arg("rows"), "Scale 0.5.");
    m.def("two_way", &two_way, py::arg("keys"), py::arg("position"), py::arg("heads"), py::arg("tokens"), py::arg("ask"), py::arg("bias"),
          py::arg("values"), py::arg("gamma"), py::arg("read"), py::arg("side") = py::none(), py::arg("range"),
          "gamma also serves as the output's bias and as beta; eps 1e-5. Columns are token * heads + head, padded to 16.");
    m.def("upscale", &upscale, py::arg("keys"), py::arg("grid_w"), py::arg("w1"), py::arg("b1"), py::arg("gamma"), py::arg("beta"), py::arg("w2"),
          py::arg("b2"), py::arg("hyper"));
}
