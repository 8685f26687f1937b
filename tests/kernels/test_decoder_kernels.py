"""The kernels of the mask decoder, sweeps and upscaling, on odd shapes against the formulas of
their headers, computed by torch in float64."""

import numpy as np
import pytest
import torch

from tests.kernels.arrays import double, draw


@pytest.mark.parametrize("side", ["", "update", "both"])
@pytest.mark.parametrize(
    "keys, dim, heads, tokens, readers, range_",
    [
        (1, 16, 2, 1, 1, 64),
        (100, 48, 3, 5, 2, 64),
        (257, 32, 8, 7, 4, 128),
        (64, 256, 8, 9, 3, 64),
        (130, 24, 4, 8, 8, 64),
        (70, 20, 5, 17, 20, 64),
    ],
)
def test_two_way_sweep(kernels, keys, dim, heads, tokens, readers, range_, side):
    x, position, bias, values, gamma = draw(
        keys + tokens, (keys, dim), (keys, dim), (heads, tokens), (heads, tokens, dim), (dim,)
    )
    width = 3
    of_image, rows = (double(x) + double(position)).expand(heads, keys, dim), None
    (ask,) = draw(1, (heads, tokens, dim))
    if side:
        rows, ask = draw(2, (keys, heads * width), (tokens, heads * width))
        of_image = double(rows).view(keys, heads, width).permute(1, 0, 2)
    ask = ask / ask.shape[-1] ** 0.5
    # asked is (heads, tokens, width).
    asked = double(ask) if not side else double(ask).view(tokens, heads, width).permute(1, 0, 2)
    p = (of_image @ asked.mT + double(bias)[:, None]).softmax(2)  # (heads, keys, tokens)
    g = double(gamma)
    updated = torch.nn.functional.layer_norm(
        double(x) + (p @ double(values)).sum(0) + g, (dim,), g, g, 1e-5
    )
    of_image = (updated + double(position)).expand(heads, keys, dim)
    shown = updated.expand(heads, keys, dim)
    read_values = None
    (read,) = draw(3, (heads, readers, dim))
    if side == "both":
        read, read_values = draw(4, (readers, heads * width), (keys, heads * width))
        of_image, shown = (
            double(r).view(keys, heads, width).permute(1, 0, 2) for r in (rows, read_values)
        )
    read = read / read.shape[-1] ** 0.5
    reading = (
        double(read)
        if side != "both"
        else double(read).view(readers, heads, width).permute(1, 0, 2)
    )
    seen = (of_image @ reading.mT).softmax(1).mT @ shown  # (heads, readers, .)
    for precision, tolerance in (("fp32", 2e-5), ("bf16", 0.06)):
        got_keys, got_seen = kernels.two_way(
            x,
            position,
            ask,
            bias,
            values,
            gamma,
            read,
            readers,
            rows,
            read_values,
            range=range_,
            precision=precision,
        )
        assert np.abs(got_keys - updated.numpy()).max() < tolerance * max(
            1, np.abs(updated.numpy()).max()
        )
        # A column of a group also gathers sums that belong to the heads of its neighbours.
        for h in range(heads):
            first = h % (got_seen.shape[2] // width) * width if side == "both" else 0
            own = got_seen[h, :, first : first + seen.shape[2]]
            assert np.abs(own - seen[h].numpy()).max() < tolerance * 2


@pytest.mark.parametrize(
    "keys, dim, heads, tokens, readers, updates, range_",
    [(1, 16, 2, 1, 1, 2, 64), (100, 48, 3, 5, 2, 1, 64), (257, 256, 8, 7, 4, 2, 64)],
)
def test_a_sweep_over_keys_that_are_known_by_their_weights(
    kernels, keys, dim, heads, tokens, readers, updates, range_
):
    """Scores, deviations, weights and sums against the same by whole keys, in float64."""
    width, slots = 4, 1 << (tokens - 1).bit_length()
    columns, read_slots = -(-heads * slots // 16) * 16, 1 << (readers - 1).bit_length()
    read_columns, before = -(-heads * read_slots // 16) * 16, (updates - 1) * columns
    x, bias, side, read_values, ask, read, fixed, through, read_fixed, read_through = draw(
        keys + tokens,
        (keys, dim),
        (heads, tokens),
        (keys, heads * width),
        (keys, heads * width),
        (tokens, heads * width),
        (readers, heads * width),
        (keys, heads * width),
        (before, columns),
        (keys, heads * width),
        (before + columns, read_columns),
    )
    through, read_through = through / max(before, 1), read_through / (before + columns)
    weights, scale = draw(3, (keys, before), (keys,))
    if before == 0:
        scale = np.ones_like(scale)

    # Each update's values, their map to the width of a key, and what it adds to every key.
    maps, values, constants = draw(
        4, (updates, heads * width, dim), (updates, tokens, heads * width), (updates, dim)
    )
    x, maps, constants = (
        double(a) - double(a).mean(-1, keepdim=True) for a in (x, maps, constants)
    )
    rows = torch.zeros(updates, columns, dim, dtype=torch.float64)
    for h in range(heads):
        of_head = slice(h * width, (h + 1) * width)
        own = double(values)[:, :, of_head] @ maps[:, of_head]
        own = own + constants[:, None] if h == 0 else own
        rows[:, h * slots : h * slots + tokens] = own
        # Weights of padding are 0.
        for update in range(updates - 1):
            first = update * columns + h * slots
            weights[:, first + tokens : first + slots] = 0
            weights[:, update * columns + heads * slots : (update + 1) * columns] = 0
    rows = rows.flatten(0, 1)
    products = rows @ rows.mT / dim
    deviation = [
        (x**2).mean(1),
        2 / dim * x @ maps.flatten(0, 1).mT,
        2 / dim * x @ constants.mT,
        products.triu(1) * 2 + products.diag().diag(),
    ]

    def scores(fixed, asked, count, slots, scale, weights, through):
        rows = double(side) * scale[:, None] + (0 if fixed is None else double(fixed))
        own = torch.einsum(
            "khw,thw->kht",
            rows.view(keys, heads, width),
            double(asked).view(count, heads, width),
        )
        added = (weights @ double(through))[:, : heads * slots].view(keys, heads, slots)
        return own + added[:, :, :count]

    p = scores(fixed, ask, tokens, slots, double(scale), double(weights), through) + double(bias)
    own = torch.zeros(keys, columns, dtype=torch.float64)
    own[:, : heads * slots].view(keys, heads, slots)[:, :, :tokens] = p.softmax(2)
    expected_weights = torch.cat([double(weights), own], 1)
    sums = double(scale)[:, None] * x + expected_weights @ rows
    factor = 1 / (sums.var(1, correction=0) + 1e-5).sqrt()
    expected_scale = double(scale) * factor
    expected_weights = expected_weights * factor[:, None]
    q = scores(
        read_fixed, read, readers, read_slots, expected_scale, expected_weights, read_through
    ).softmax(0)
    shown = double(read_values) * expected_scale[:, None]
    seen_values = torch.einsum("kht,khw->htw", q, shown.view(keys, heads, width))
    seen_weights = torch.einsum("kht,kc->htc", q, expected_weights)
    nothing = np.zeros((keys, dim), np.float32)
    for precision, tolerance in (("fp32", 2e-5), ("bf16", 0.06)):
        got_scale, got_weights, seen = kernels.two_way(
            nothing,
            nothing,
            ask,
            bias,
            np.zeros((heads, tokens, dim), np.float32),
            nothing[0],
            read,
            readers,
            side,
            read_values,
            range=range_,
            precision=precision,
            earlier=[
                scale,
                weights,
                fixed,
                through,
                read_fixed,
                read_through,
                *(a.float().numpy() for a in deviation),
                *values,
            ],
        )
        part = seen.shape[2] - before - columns
        own_values = np.stack(
            [seen[h][:, h * width % part : h * width % part + width] for h in range(heads)]
        )
        for got, expected in (
            (got_scale, expected_scale),
            (got_weights, expected_weights),
            (own_values, seen_values),
            (seen[:, :, part:], seen_weights),
        ):
            assert np.abs(got - expected.numpy()).max() < tolerance * max(1, expected.abs().max())


@pytest.mark.parametrize(
    "h, w, dim, masks", [(1, 1, 32, 1), (3, 5, 64, 3), (4, 7, 36, 4), (2, 64, 256, 16)]
)
def test_upscale(kernels, h, w, dim, masks):
    c1, c2 = dim // 4, max(1, dim // 8)
    keys, w1, b1, gamma, beta, w2, b2, hyper = draw(
        h * w,
        (h * w, dim),
        (dim, c1, 2, 2),
        (c1,),
        (c1,),
        (c1,),
        (c1, c2, 2, 2),
        (c2,),
        (masks, c2),
    )
    x = torch.nn.functional.conv_transpose2d(
        double(keys).T.view(1, dim, h, w), double(w1), double(b1), 2
    )
    x = torch.nn.functional.layer_norm(
        x.permute(0, 2, 3, 1), (c1,), double(gamma), double(beta), 1e-6
    ).permute(0, 3, 1, 2)
    x = torch.nn.functional.gelu(
        torch.nn.functional.conv_transpose2d(torch.nn.functional.gelu(x), double(w2), double(b2), 2)
    )
    expected = (double(hyper) @ x[0].reshape(c2, -1)).view(masks, 4 * h, 4 * w).numpy()
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.03)):
        got = kernels.upscale(keys, w, w1, b1, gamma, beta, w2, b2, hyper, precision=precision)
        assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("h, w, dim, masks", [(1, 1, 32, 1), (3, 5, 64, 3), (2, 64, 256, 4)])
def test_upscale_with_high_resolution_features(kernels, h, w, dim, masks):
    c1, c2 = dim // 4, dim // 8
    keys, w1, b1, gamma, beta, w2, b2, hyper, half, quarter = draw(
        h * w,
        (h * w, dim),
        (dim, c1, 2, 2),
        (c1,),
        (c1,),
        (c1,),
        (c1, c2, 2, 2),
        (c2,),
        (masks, c2),
        (4 * h * w, c1),
        (16 * h * w, c2),
    )
    x = torch.nn.functional.conv_transpose2d(
        double(keys).T.view(1, dim, h, w), double(w1), double(b1), 2
    )
    x = x + double(half).T.view(1, c1, 2 * h, 2 * w)
    x = torch.nn.functional.layer_norm(
        x.permute(0, 2, 3, 1), (c1,), double(gamma), double(beta), 1e-6
    ).permute(0, 3, 1, 2)
    x = torch.nn.functional.conv_transpose2d(torch.nn.functional.gelu(x), double(w2), double(b2), 2)
    x = torch.nn.functional.gelu(x + double(quarter).T.view(1, c2, 4 * h, 4 * w))
    expected = (double(hyper) @ x[0].reshape(c2, -1)).view(masks, 4 * h, 4 * w).numpy()
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.03)):
        got = kernels.upscale(
            keys,
            w,
            w1,
            b1,
            gamma,
            beta,
            w2,
            b2,
            hyper,
            precision=precision,
            features=[half, quarter],
        )
        assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("h, w, dim, depth", [(1, 1, 32, 16), (3, 5, 64, 32), (2, 64, 256, 128)])
def test_upscale_of_tokens_known_by_their_weights(kernels, h, w, dim, depth):
    """The tokens are scale * x0 + weights * basis: their upscaling is that of the sum."""
    c1, c2 = dim // 4, dim // 8
    w1, b1, gamma, beta, w2, b2, hyper = draw(
        h, (dim, c1, 2, 2), (c1,), (c1,), (c1,), (c1, c2, 2, 2), (c2,), (3, c2)
    )
    x0, weights, basis, scale = draw(w, (h * w, dim), (h * w, depth), (depth, dim), (h * w,))
    keys = (double(x0) * double(scale)[:, None] + double(weights) @ double(basis)).float().numpy()
    first = double(w1).permute(0, 2, 3, 1).reshape(dim, 4 * c1)
    through = [(double(m) @ first).float().numpy() for m in (x0, basis)]
    arrays = (keys, w, w1, b1, gamma, beta, w2, b2, hyper)
    for precision, tolerance in (("fp32", 3e-5), ("bf16", 0.03)):
        expected = kernels.upscale(*arrays)
        got = kernels.upscale(
            np.zeros_like(keys),
            *arrays[1:],
            precision=precision,
            updated=[scale, weights, *through, np.tile(b1, 4)],
        )
        assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()
