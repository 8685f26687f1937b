"""Ctrl-C, cancelling, callbacks, forks and exits: rows 40 to 44 and 47 of the bad inputs in
tests/README.md."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import segrid


def test_row_40_ctrl_c_returns_within_200_ms(python):
    code = (
        "import signal\n"
        # A process that a shell runs in the background ignores SIGINT until it sets a handler.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "t = {}\n"
        "def press():\n    time.sleep(0.4); t['at'] = time.perf_counter()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=press).start()\n"
        "grid = np.random.default_rng(0).random((40_000, 2))\n"
        "try:\n    model.everything(image, point_grids=[grid])\n"
        "except KeyboardInterrupt as stop:\n"
        "    print(time.perf_counter() - t['at'], len(stop.partial) > 0)\n"
        "print(len(model.predict(image, points=[[150, 60]])))"
    )
    stopped, usable = python(code).split("\n")
    took, partial = stopped.split()
    assert float(took) < 0.2 and partial == "True" and usable == "1"


def test_row_41_cancel(tiny, coins):
    token = segrid.CancelToken()
    threading.Timer(0.15, token.cancel).start()
    begin = time.perf_counter()
    with pytest.raises(segrid.Cancelled):
        tiny.everything(coins, points_per_side=200, cancel=token)
    assert time.perf_counter() - begin < 0.5 and token.cancelled
    assert len(tiny.everything(coins, points_per_side=6)) > 0


def test_row_40_and_41_partial_results_are_those_of_the_whole_run(tiny, coins):
    token = segrid.CancelToken()

    def progress(state):
        if state["done"] > 200:
            token.cancel()

    options = dict(
        point_grids=[np.random.default_rng(0).random((1500, 2))],
        box_nms_thresh=1.0,
        containment_thresh=1.0,
    )
    with pytest.raises(segrid.Cancelled) as stop:
        tiny.everything(coins, progress=progress, cancel=token, **options)
    partial, whole = stop.value.partial, tiny.everything(coins, **options)
    assert 0 < len(partial) < len(whole)
    known = {
        (int(p), float(s)): i
        for i, (p, s) in enumerate(zip(whole.prompt, whole.scores, strict=True))
    }
    for mask in partial:
        same = whole[known[int(mask.prompt[0]), float(mask.scores[0])]]
        assert mask.rle == same.rle and np.array_equal(mask.boxes, same.boxes)


def test_row_42_exception_in_a_callback(tiny, coins):
    calls = []

    def progress(state):
        calls.append(state)
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        tiny.everything(coins, points_per_side=32, progress=progress)
    assert len(calls) == 1
    assert len(tiny.everything(coins, points_per_side=6)) > 0


def test_progress(tiny, coins):
    states = []
    masks = tiny.everything(coins, points_per_side=20, crop_n_layers=1, progress=states.append)
    assert {s["stage"] for s in states} == {"encode", "decode", "filter"}
    done = [s["done"] for s in states]
    assert done == sorted(done) and done[-1] == states[-1]["total"] == 400 + 4 * 400
    assert states[-1]["kept"] == len(masks) and states[-1]["memory_mb"] > 50
    assert all(a["elapsed"] <= b["elapsed"] for a, b in zip(states, states[1:], strict=False))


def test_row_43_fork_after_use(python):
    code = (
        "def count(): return len(model.everything(image, points_per_side=4, pred_iou_thresh=0.0))\n"
        "n = count()\npid = os.fork()\n"
        "if pid == 0:\n    os._exit(0 if count() == n else 3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), count() == n)"
    )
    assert python(code) == "0 True"


def test_row_43_a_child_keeps_the_number_of_threads(python):
    code = (
        "segrid.set_threads(1)\npid = os.fork()\n"
        "if pid == 0:\n    os._exit(segrid.threads())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert python(code) == "1"


def test_row_43_a_child_takes_a_session_up(python, tmp_path):
    """Torch's own threads, which do not survive a fork, have no part in it."""
    code = (
        f"import torch\nfile = {str(tmp_path / 'snapshot')!r}\n"
        "torch.rand(512, 512) @ torch.rand(512, 512)\n"
        "tracker = segrid.Tracker('tiny-video')\n"
        "with tracker.open([image] * 3) as session:\n"
        "    session.add(1, frame=0, points=[[150, 60]])\n"
        "    areas = [int(f.masks.areas[0]) for f in session.propagate()]\n"
        "    session.snapshot(file)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    session = tracker.restore(file, [image] * 3)\n"
        "    os._exit(0 if int(session.masks(2).areas[0]) == areas[2] else 3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert python(code) == "0"


def test_row_44_spawned_processes():
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(2) as pool:
        areas = pool.map(_area_of_click, [segrid.Segmenter("tiny")] * 2)
    assert areas[0] == areas[1] > 0


def _area_of_click(model):
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 30:50] = 255
    return int(model.predict(image, points=[[40, 30]]).areas[0])


@pytest.mark.parametrize("daemon", [True, False])
def test_row_47_exit_with_work_queued(python, daemon):
    code = (
        f"def work(): model.everything(image, points_per_side={200 if daemon else 20})\n"
        f"t = threading.Thread(target=work, daemon={daemon})\n"
        "t.start(); time.sleep(0.3); print('bye')"
    )
    begin = time.perf_counter()
    assert python(code, timeout=30) == "bye"
    assert time.perf_counter() - begin < 20


def test_row_47_engine_deleted_during_a_call(python):
    code = (
        "import gc\nout = []\n"
        "def work(m):\n    out.append(len(m.everything(image, points_per_side=24)))\n"
        "t = threading.Thread(target=work, args=(model,)); t.start()\n"
        "del model; gc.collect(); t.join(); print(len(out))"
    )
    assert python(code) == "1"


def test_masks_live_on_in_exit_handlers():
    code = (
        "import atexit\n"
        "def late(): print(len(masks[0:1]), masks.boxes.shape[1])\natexit.register(late)\n"
        "import numpy as np, segrid\nimage = np.full((40, 60, 3), 90, np.uint8)\n"
        "masks = segrid.Segmenter('tiny').predict(image, points=[[9, 9]])"
    )
    assert subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split() == ["1", "4"]


def test_signals_do_not_break_other_threads(tiny, coins):
    assert signal.getsignal(signal.SIGINT) is not None
    results = []
    thread = threading.Thread(
        target=lambda: results.append(len(tiny.everything(coins, points_per_side=8)))
    )
    thread.start()
    thread.join()
    assert results and results[0] > 0
