"""Threads, the GIL, memory and the environment of the process: rows 39, 45, 46, 49, 58 and 59 of
the bad inputs in tests/README.md."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import segrid


def test_the_gil_is_free_while_the_engine_works(tiny, coins):
    from segrid._image import to_image

    image = to_image(coins)
    for call in (
        lambda: tiny.everything(image, points_per_side=16),
        lambda: [tiny.encode(image) for _ in range(20)],
        lambda: tiny.predict(tiny.encode(image), points=np.full((300, 2), 100.0)),
        lambda: segrid.Segmenter("tiny"),
    ):
        call()
        gaps, stop = [], threading.Event()

        def tick(gaps=gaps, stop=stop):
            last = time.perf_counter()
            while not stop.is_set():
                time.sleep(0.001)
                now = time.perf_counter()
                gaps.append(now - last)
                last = now

        thread = threading.Thread(target=tick)
        thread.start()
        begin = time.perf_counter()
        call()
        took = time.perf_counter() - begin
        stop.set()
        thread.join()
        # If the call held the GIL, there would be one gap as long as the call.
        assert max(gaps) < max(0.1, 0.6 * took), (max(gaps), took)


def test_same_bits_for_any_number_of_threads(python):
    code = (
        "segrid.set_threads({n})\n"
        "m = model.everything(image, points_per_side=10, crop_n_layers=1)\n"
        "p = model.predict(image, points=[[150, 60], [40, 50]], multimask=True)\n"
        "import hashlib\n"
        "found = repr(m.rle).encode() + m.scores.tobytes() + p.low_res.tobytes()\n"
        "print(len(m), hashlib.sha256(found).hexdigest())"
    )
    results = {
        python("import warnings; warnings.simplefilter('ignore')\n" + code.format(n=n))
        for n in (1, 2, 3)
    }
    assert len(results) == 1 and not results.pop().startswith("0 ")


def test_threads_cap_one_object(coins):
    with pytest.raises(ValueError, match="threads"):
        segrid.Segmenter("tiny", threads=0)
    one = segrid.Segmenter("tiny", threads=1)
    begin, cpu = time.perf_counter(), time.process_time()
    one.everything(coins, points_per_side=16)
    assert time.process_time() - cpu < 1.3 * (time.perf_counter() - begin) + 0.05


def test_row_39_out_of_memory_names_the_size(python):
    out = python(
        "import resource\n"
        "big = np.zeros((9000, 9000, 3), np.uint8)\n"
        "limit = int(open('/proc/self/statm').read().split()[0]) * 4096 + (64 << 20)\n"
        "hard = resource.getrlimit(resource.RLIMIT_AS)[1]\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, hard))\n"
        "try:\n    model.encode(big)\n    print('encoded')\n"
        "except MemoryError as e:\n    print('MemoryError', e)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (hard, hard))\n"
        "print(len(model.predict(image, points=[[150, 60]])))"
    )
    first, last = out.split("\n")
    assert first.startswith("MemoryError") and "MB" in first and last == "1"


def test_row_45_declares_itself_free_threaded():
    from pathlib import Path

    source = (Path(__file__).parents[2] / "src/bindings/module.cpp").read_text()
    assert "mod_gil_not_used" in source


def test_row_46_many_threads_on_one_engine(tiny, coins):
    embedding = tiny.encode(coins)
    expected = [tiny.predict(embedding, points=[[x, 60]]).low_res.copy() for x in (100, 150)]
    wrong = []

    def ask(i):
        for _ in range(3):
            if not (
                tiny.predict(embedding, points=[[(100, 150)[i % 2], 60]]).low_res == expected[i % 2]
            ).all():
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_row_46_oversubscription_is_said(python):
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as w:\n"
        "    warnings.simplefilter('always'); segrid.set_threads(64)\n"
        "print(any(x.category is RuntimeWarning and 'CPUs' in str(x.message) for x in w))\n"
        "model.everything(image, points_per_side=4)"
    )
    assert python(code, OMP_NUM_THREADS="64") == "True"
    for bad in (0, -1, 5000):
        with pytest.raises(ValueError, match="1 to 1024"):
            segrid.set_threads(bad)


def test_row_49_openmp_runtimes_are_listed():
    from segrid._native import openmp_runtimes

    assert all(os.path.exists(p) for p in openmp_runtimes())


def test_users_torch_keeps_its_threads(python):
    code = (
        "import torch\ntorch.set_num_threads(2); before = torch.get_num_threads()\n"
        "model.everything(image, points_per_side=4); print(before == torch.get_num_threads())"
    )
    assert python(code) == "True"


def test_row_58_file_names_and_locale(python, tmp_path, coins):
    from PIL import Image

    odd = os.fsencode(tmp_path) + b"/\xff\xfe name \xc3\xa4.png"
    with open(odd, "wb") as file:
        Image.fromarray(coins).save(file, "PNG")
    model = segrid.Segmenter("tiny")
    assert len(model.predict(os.fsdecode(odd), points=[[150, 60]])) == 1
    with pytest.raises((ValueError, OSError), match="long"):
        model.encode(tmp_path / ("x" * 5000))
    with pytest.raises(ValueError, match="NUL|null"):
        model.encode("a\0b.png")
    locales = subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout
    if "de_DE.utf8" in locales:
        assert python(
            "import locale; locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8'); "
            "print(len(segrid.Segmenter('tiny').everything(image, points_per_side=4)))"
        )


def test_row_59_threads_honour_affinity(python):
    code = (
        "os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})\n"
        "from segrid import _core\nprint(_core.available_cpus())"
    )
    assert python(code) == "1"
    assert python("os.sched_getaffinity(0)\nprint(segrid.threads())", SEGRID_THREADS="1") == "1"


def test_memory_stays_bounded_on_50_megapixels(python):
    out = python(
        "from PIL import Image\n"
        "big = np.asarray(Image.fromarray(image).resize((8660, 5774))); del image\n"
        "model.encode(big[:99, :99].copy())\n"
        "before = int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6\n"
        "m = model.everything(big, points_per_side=16)\n"
        # ru_maxrss would also count the memory that the parent had when it started this process.
        "peak = next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1]\n"
        "peak = int(peak) * 1024 / 1e6\n"
        "print(len(m) > 0, peak - before)",
        timeout=120,
    )
    found, above = out.split()
    assert found == "True" and float(above) < 600


def test_dropped_candidates_come_back_the_same(tiny, coins):
    options = {
        "points_per_side": 10,
        "pred_iou_thresh": 0.5,
        "stability_score_thresh": 0.5,
        "box_nms_thresh": 0.7,
    }
    native = tiny._engine
    whole = native.everything(segrid._image.to_image(coins), options)
    for memory in (0, 2000):
        with segrid.Trace() as trace:
            frugal = native.everything(
                segrid._image.to_image(coins), {**options, "candidate_memory": memory}
            )
        assert len([e for e in trace.events if e[0] == "decode"]) > 100, (
            "vacuous: no candidate was decoded again"
        )
        assert np.array_equal(frugal.dense(), whole.dense()) and np.array_equal(
            frugal.boxes, whole.boxes
        )
        assert np.array_equal(frugal.areas, whole.areas) and frugal.areas.min() > 0
    crops = {**options, "crop_n_layers": 1, "candidate_memory": 0}
    a = native.everything(segrid._image.to_image(coins), crops)
    b = native.everything(segrid._image.to_image(coins), {**crops, "candidate_memory": 1 << 30})
    assert np.array_equal(a.dense(), b.dense())


def sweeps_at_once(model, embedding):
    """The largest number of sweeps of one click that ran at the same time."""
    with segrid.Trace() as trace:
        model.predict(embedding, points=[[60.0, 60.0]], multimask=True)
    return trace.at_once("sweep")


def test_few_clicks_use_the_idle_workers_and_no_more_than_allowed(tiny, coins, four_threads):
    embedding = tiny.encode(coins)
    assert sweeps_at_once(tiny.with_threads(1), embedding) == 1
    for model, most in ((tiny, 4), (tiny.with_threads(2), 2)):
        # The packaged model's sweeps are short, so that on a busy machine a worker seldom wakes in
        # time.
        for _ in range(1000):
            seen = sweeps_at_once(model, embedding)
            assert seen <= most
            if seen > 1:
                break
        else:
            pytest.fail("idle workers never helped")


def test_as_many_prompts_at_once_as_asked(tiny, coins, four_threads):
    points = [[20 + 9 * i, 60] for i in range(30)]
    embedding = tiny.encode(coins)
    wanted = tiny.predict(embedding, points=points)
    for size, most in ((1, 1), (2, 2), (None, 4), (90, 4)):
        with segrid.Trace() as trace:
            found = tiny.predict(embedding, points=points, batch_size=size)
        assert (
            len([e for e in trace.events if e[0] == "decode"]) == 30
            and trace.at_once("decode") <= most
            and (size == 1 or trace.at_once("decode") > 1)
        )
        assert np.array_equal(found.array, wanted.array) and np.array_equal(
            found.low_res, wanted.low_res
        )
    with pytest.raises(ValueError, match="batch_size"):
        tiny.predict(embedding, points=points, batch_size=0)


def test_a_copy_with_fewer_threads_shares_the_weights(tmp_path, coins):
    folder = tmp_path / "model"
    shutil.copytree(Path(segrid.__file__).parent / "models/tiny", folder)
    model = segrid.Segmenter(folder)
    wanted = model.predict(coins, points=[[60, 60]])
    shutil.rmtree(folder)
    assert np.array_equal(
        model.with_threads(1).predict(coins, points=[[60, 60]]).array, wanted.array
    )
