"""How the page decodes masks, against pycocotools."""

import numpy as np
from pycocotools import mask as coco


def random_masks():
    random = np.random.default_rng(3)
    yield np.zeros((7, 9), np.uint8)
    yield np.ones((7, 9), np.uint8)
    for height, width in ((1, 1), (1, 40), (40, 1), (37, 53), (120, 170)):
        yield (random.random((height, width)) < 0.5).astype(np.uint8)
    y, x = np.mgrid[:200, :280]
    for _ in range(3):
        cx, cy, r = random.uniform(0, 280), random.uniform(0, 200), random.uniform(20, 120)
        yield (np.abs(np.hypot(x - cx, y - cy) - r) < r / 3).astype(np.uint8)


def test_masks_are_decoded_as_pycocotools_encodes_them(page):
    for mask in random_masks():
        rle = coco.encode(np.asfortranarray(mask))
        box = coco.toBbox(rle)
        found = page.call(
            "const { Mask } = await import('/page/mask.js');"
            "const mask = new Mask({ size: given[0], counts: given[1] }, 1);"
            "let area = 0; const runs = [];"
            "for (const r of mask.rings()) for (let i = 0; i < r.length; i += 2) {"
            "  const j = (i + 2) % r.length; area += (r[i] * r[j + 1] - r[j] * r[i + 1]) / 2; }"
            "mask.forEachRun((x, top, bottom) => runs.push([x, top, bottom]));"
            "return { area: mask.area, rings: area, box: mask.box, runs,"
            "  holds: given[2].map(([x, y]) => mask.contains(x, y)) }",
            rle["size"],
            rle["counts"].decode(),
            (points := [[x, y] for y in range(mask.shape[0]) for x in range(mask.shape[1])][:3000]),
        )
        drawn = np.zeros_like(mask)
        for x, top, bottom in found["runs"]:
            drawn[top:bottom, x] = 1
        assert np.array_equal(drawn, mask)
        assert found["area"] == mask.sum() and found["rings"] == mask.sum()
        assert found["holds"] == [bool(mask[y, x]) for x, y in points]
        if mask.any():
            left, top, right, bottom = found["box"]
            assert [left, top, right - left, bottom - top] == box.tolist()
