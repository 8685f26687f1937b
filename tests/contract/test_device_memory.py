"""The memory of a device: batches that do not fit, the size of copies back, no memory left in
use."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import segrid
from segrid import _core

from tests.reference.agreement import same_masks

GRID = dict(points_per_side=12, pred_iou_thresh=0.5, stability_score_thresh=0.75)


LIMITED = """
    import json, resource, sys, warnings
    import numpy as np
    import segrid
    from segrid import _core
    segrid.set_threads(1)
    segmenter = segrid.Segmenter(sys.argv[1], device="cpu-plain", precision="fp32")
    image = np.random.default_rng(0).integers(0, 255, (*map(int, sys.argv[3:]), 3), dtype=np.uint8)
    embedding = segmenter.encode(image)
    call = dict(points_per_side=12, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    segmenter.everything(embedding, **{**call, "points_per_side": 1})  # what is made once
    with open("/proc/self/statm") as f:
        held = int(f.read().split()[0]) * resource.getpagesize()
    most = held + int(sys.argv[2]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            masks = segmenter.everything(embedding, **call)
            prompts = sorted(set(masks.prompt.tolist()))
            found = {"masks": len(masks), **masks.stats, "prompts": prompts}
        except MemoryError as error:
            found = {"error": str(error)}
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    told = [str(w.message) for w in told if w.category is RuntimeWarning]
    print(json.dumps({**found, "told": told}))
"""


def limited(megabytes, height=300, width=400):
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(LIMITED),
        "tiny",
        *map(str, (megabytes, height, width)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_batch_that_does_not_fit_is_halved_and_the_masks_are_the_same():
    """Row 38 of the bad inputs: the process may take less and less memory. The call takes smaller
    batches and warns. Only when one prompt is too much is there an error."""
    free = limited(4096)
    assert (free["halved"], free["told"], free["prompts"][:50]) == (
        0,
        [],
        list(range(50)),
    ) and free["batch_size"] > 16
    tight = limited(150)
    assert (
        tight["halved"] >= 1
        and tight["batch_size"] < free["batch_size"]
        and (tight["masks"], tight["prompts"]) == (free["masks"], free["prompts"])
    )
    assert len(tight["told"]) == 1 and f"batches of {tight['batch_size']}" in tight["told"][0]
    none = limited(150, 5000, 7000)  # The pixels of the image alone fill the memory.
    assert "out of memory with a single prompt" in none.get("error", str(none)), none


def test_a_device_that_runs_out_halves_its_batches(fake, coins):
    """The same holds for an allocator that throws CUDA's errors. With less and less memory the
    masks stay the same and torch's cache is emptied; in the end there is an error."""
    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    embedding = segmenter.encode(coins)
    expected = segmenter.everything(embedding, **GRID)
    assert expected.stats["halved"] == 0 and expected.stats["peak_device_memory_mb"] > 20
    fake.fake_cache(1 << 30)  # Memory in torch's cache counts as free.
    assert (
        segmenter.everything(embedding, **GRID).stats["batch_size"] == expected.stats["batch_size"]
    )
    fake.fake_cache(0)
    held, sizes = fake.fake_held(), []
    # Another process may take memory like this: batches are sized by more than there is.
    fake.fake_lie(2 << 30)
    for megabytes in (60, 25):
        fake.fake_limit(held + megabytes * 2**20)
        emptied = fake.fake_emptied()
        with pytest.warns(RuntimeWarning, match="prompts went in batches of"):
            masks = segmenter.everything(embedding, **GRID)
        same_masks(masks, expected, pixels=0)
        assert masks.stats["halved"] == fake.fake_emptied() - emptied > 0
        sizes.append(masks.stats["batch_size"])
    assert expected.stats["batch_size"] > sizes[0] > sizes[1] >= 1
    fake.fake_from_cublas(1)  # cuBLAS reports its own lack of memory by a general error.
    fake.fake_limit(held + 60 * 2**20)
    with pytest.warns(RuntimeWarning, match="prompts went in batches of"):
        same_masks(segmenter.everything(embedding, **GRID), expected, pixels=0)
    fake.fake_limit(held + 2**20)
    with pytest.raises(MemoryError, match="fake:0: out of memory with a single prompt"):
        segmenter.predict(embedding, points=[[50, 50]])
    fake.fake_limit(2 << 30)
    assert len(segmenter.predict(embedding, points=[[50, 50]])) == 1, (
        "the segmenter works after the failure"
    )


def test_only_numbers_and_kept_masks_are_copied_back(fake, coins):
    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    embedding = segmenter.encode(coins)
    fake.fake_copied_back()
    held = fake.fake_held()
    assert abs(_core.device_memory("fake")[0] - held / 1e6) < 1e-6 < _core.device_memory("fake")[
        1
    ] and _core.device_memory("cpu") == (0.0, 0.0)
    masks = segmenter.everything(
        embedding,
        points_per_side=16,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=0.3,
        containment_thresh=1.0,
        crop_containment_thresh=1.0,
    )
    candidates = 3 * 16**2
    flat = masks.array.reshape(len(masks), -1)
    runs = (flat[:, 1:] & ~flat[:, :-1]).sum() + flat[:, 0].sum()
    assert len(masks) < candidates / 3
    # Neither pixels nor logits of masks are copied.
    assert fake.fake_copied_back() < 8 * runs + 100 * candidates
    del masks
    assert fake.fake_held() == held, "memory of the device is still in use"


def test_masks_of_one_prompt_go_one_by_one_when_memory_is_short(fake):
    """Three masks of six megapixels do not fit into memory at once; one does."""
    image = np.random.default_rng(0).integers(0, 255, (2000, 3000, 3), dtype=np.uint8)
    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    embedding = segmenter.encode(image)
    expected = segmenter.predict(embedding, points=[[900, 900]], multimask=True)
    fake.fake_lie(2 << 30)
    fake.fake_limit(fake.fake_held() + 90 * 2**20)
    with pytest.warns(RuntimeWarning, match="in batches of 1"):
        tight = segmenter.predict(embedding, points=[[900, 900]], multimask=True)
    assert np.array_equal(tight.areas, expected.areas) and np.array_equal(
        tight.low_res, expected.low_res
    )


def test_a_sweep_of_batches_says_where_the_devices_memory_runs_out(fake, coins):
    """The device reports more free memory than there is, so that the batch is tried and halved."""
    from segrid.measuring.prompt_sweep import fastest, sweep_prompts

    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    free = sweep_prompts(segmenter, coins, [2, 64], repeat=1)
    assert [(row.at_once, row.ran_out) for row in free] == [(2, False), (64, False)]
    assert 0 < free[0].device_mb < free[1].device_mb
    fake.fake_lie(4 << 30)
    fake.fake_limit(int(0.5e6 * (free[0].device_mb + free[1].device_mb)))
    tight = sweep_prompts(segmenter, coins, [2, 64], repeat=1)
    assert [row.ran_out for row in tight] == [False, True], tight
    assert tight[1].error is None and 1 <= tight[1].at_once < 64
    assert fastest(tight) is tight[0]
    fake.fake_limit(fake.fake_held() + 2**20)
    with pytest.raises(MemoryError):  # not even the image
        sweep_prompts(segmenter, coins, [2], repeat=1)
