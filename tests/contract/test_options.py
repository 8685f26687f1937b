"""The options of everything mode: one table in the bindings, one signature in Python."""

import inspect

import pytest
import segrid
from segrid import _core

TABLE = _core.Segmenter.everything_options()
FOR_TESTS = {"candidate_memory"}
BESIDE_THE_TABLE = {"self", "image", "target_points", "progress", "cancel"}


def arguments():
    signature = inspect.signature(segrid.Segmenter.everything)
    return {n: p.default for n, p in signature.parameters.items() if n not in BESIDE_THE_TABLE}


def test_the_engine_and_python_have_the_same_options():
    assert set(arguments()) == set(TABLE) - FOR_TESTS


def test_defaults_are_the_same(tiny):
    """None in Python is the model's recommended value, an own grid, or off."""
    left_open = set(tiny.recommended) | {"points_per_side"}
    for name, default in arguments().items():
        if default is None:
            assert name in left_open or TABLE[name] in (None, []), name
        else:
            assert TABLE[name] == default and type(TABLE[name]) is type(default), name


@pytest.mark.parametrize("name", sorted(n for n, v in TABLE.items() if not isinstance(v, bool)))
def test_a_wrong_type_is_refused_by_name(name):
    wrong = [[["x"]]] if name == "point_grids" else "much"
    with pytest.raises(ValueError, match="could not convert" if name == "point_grids" else name):
        _core.Segmenter.check_everything({name: wrong})


@pytest.mark.parametrize("value", [3, None])
def test_an_unknown_option_is_refused_by_name(tiny, value):
    with pytest.raises(KeyError, match="everything: unknown option 'points_per_sid'"):
        _core.Segmenter.check_everything({"points_per_sid": value})
    with pytest.raises(TypeError, match="points_per_sid"):
        tiny.everything("never read.png", points_per_sid=value)


def test_numpy_scalars_are_numbers(tiny, coins):
    import numpy as np

    options = {"points_per_side": np.int64(3), "pred_iou_thresh": np.float32(0.5)}
    found = tiny.everything(coins, **options)
    same = tiny.everything(coins, points_per_side=3, pred_iou_thresh=0.5)
    assert np.array_equal(found.boxes, same.boxes) and len(found)
