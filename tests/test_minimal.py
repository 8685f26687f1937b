"""Import, one image, one mask: the first thing to run when something is broken."""

import subprocess
import sys

import numpy as np


def test_one_image_one_mask():
    import segrid

    image = np.full((96, 128, 3), 30, np.uint8)
    image[30:70, 40:90] = 220
    masks = segrid.Segmenter("tiny").predict(image, points=[[65, 50]])
    assert masks.array.shape == (1, 96, 128)
    truth = np.zeros((96, 128), bool)
    truth[30:70, 40:90] = True
    assert (masks.array[0] & truth).sum() / (masks.array[0] | truth).sum() > 0.8


def test_import_is_instant_and_loads_neither_engine_nor_torch():
    code = (
        "import sys, time; t = time.perf_counter(); import segrid; s = time.perf_counter() - t; "
        "assert 'torch' not in sys.modules and 'segrid._core' not in sys.modules "
        "and 'numpy' not in sys.modules; assert s < 0.2, s; "
        "segrid.Segmenter('tiny'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
