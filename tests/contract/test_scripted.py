"""Detectors in TorchScript files: layouts, letterbox, suppression, scripts that fail. No code runs
without trust (row 36 of the bad inputs in tests/README.md)."""

import json

import numpy as np
import pytest
import segrid
import torch


class Yolo(torch.nn.Module):
    """Finds the bright rectangle of its input and returns it twice, in one of the usual layouts."""

    layout: str

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, x: torch.Tensor):
        bright = x[0].amin(0) > 0.9
        ys, xs = torch.where(bright)
        x0 = xs.min().float()
        y0 = ys.min().float()
        x1 = xs.max().float() + 1
        y1 = ys.max().float() + 1
        w, h, cx, cy = x1 - x0, y1 - y0, (x0 + x1) / 2, (y0 + y1) / 2
        zero = torch.zeros(())
        rows = []
        for i in range(12):
            score = torch.tensor(0.9) if i == 3 else torch.tensor(0.6) if i == 5 else zero
            if self.layout == "finished":
                rows.append(torch.stack([x0, y0, x1, y1, score, torch.tensor(1.0)]))
            elif self.layout == "objectness":
                rows.append(torch.stack([cx, cy, w, h, score, zero + 0.1, zero + 1.0, zero]))
            else:
                rows.append(torch.stack([cx, cy, w, h, zero, score, zero]))
        out = torch.stack(rows).unsqueeze(0)
        if self.layout == "channels":
            return out.transpose(1, 2)
        return out


def export(path, layout, **about):
    torch.jit.save(
        torch.jit.script(Yolo(layout)),
        str(path),
        _extra_files={"config.txt": json.dumps(about)} if about else {},
    )
    return path


@pytest.fixture(scope="module")
def image():
    picture = np.full((120, 300, 3), 30, np.uint8)
    picture[40:80, 100:220] = 250
    return picture


@pytest.mark.parametrize("layout", ["channels", "objectness", "finished"])
@pytest.mark.parametrize("named", ["auto", "by name"])
def test_layouts(tmp_path, image, layout, named):
    path = export(tmp_path / "d.torchscript", layout)
    detector = segrid.ScriptedDetector(
        path,
        trust=True,
        side=320,
        classes=["dark", "bright"],
        layout="auto" if named == "auto" else layout,
    )
    if layout == "channels" and named == "auto":
        assert detector.side == 320
    both = detector.detect(image, threshold=0.25, nms=None)
    assert both.labels == ["bright", "bright"] and both.scores.tolist() == pytest.approx([0.9, 0.6])
    one = detector.detect(image)
    assert len(one) == 1
    np.testing.assert_allclose(one.boxes[0], [100, 40, 220, 80], atol=1.5)
    assert len(detector.detect(image, threshold=0.95)) == 0


def test_what_ultralytics_writes_beside(tmp_path, image):
    path = export(
        tmp_path / "d.torchscript",
        "channels",
        imgsz=[160, 160],
        names={"0": "dark", "1": "bright"},
        stride=32,
    )
    detector = segrid.ScriptedDetector(path, trust=True)
    assert (
        detector.side == 160
        and detector.classes == ["dark", "bright"]
        and detector(image).labels == ["bright"]
    )
    nameless = segrid.ScriptedDetector(export(tmp_path / "n.torchscript", "channels"), trust=True)
    assert nameless.side == 640 and nameless(image).labels == ["class 1"]


def test_in_a_pipeline(tmp_path, image, tiny):
    path = export(tmp_path / "d.torchscript", "channels")
    detector = segrid.ScriptedDetector(path, trust=True, side=320)
    found = segrid.Pipeline(detector, tiny)(image, threshold=0.5, nms=0.7)
    assert len(found) == 1 and len(found.masks) == 1
    np.testing.assert_array_equal(found.masks.array, tiny.predict(image, boxes=found.boxes).array)
    assert len(segrid.Pipeline(detector, tiny)(image, threshold=0.5)) == 2
    assert len(segrid.Pipeline(str(path), tiny, trust=True)(image, threshold=0.7)) == 1


class Canary(torch.nn.Module):
    def forward(self, x):
        raise RuntimeError("ran")


def test_row_36_no_code_without_trust(tmp_path, image, tiny):
    path = export(tmp_path / "d.torchscript", "channels")
    for how in (
        lambda: segrid.ScriptedDetector(path),
        lambda: segrid.ScriptedDetector(path, trust=1),
        lambda: segrid.Pipeline(str(path), tiny),
    ):
        with pytest.raises(ValueError, match="trust=True"):
            how()
    with pytest.raises(FileNotFoundError):
        segrid.ScriptedDetector(tmp_path / "missing.torchscript", trust=True)
    (tmp_path / "text.torchscript").write_text("no script")
    with pytest.raises(segrid.CorruptFileError, match="TorchScript"):
        segrid.ScriptedDetector(tmp_path / "text.torchscript", trust=True)
    with pytest.raises(ValueError, match="layout"):
        segrid.ScriptedDetector(path, trust=True, layout="yolo")


class Odd(torch.nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "nan":
            return torch.full([1, 8, 20], float("nan"))
        if self.kind == "class":
            return torch.full([1, 3, 6], 3e9)
        if self.kind == "minus":
            return torch.tensor([[[1.0, 1.0, 9.0, 9.0, 0.9, -1.0]]])
        if self.kind == "raises":
            raise RuntimeError("no")
        if self.kind == "shape":
            return torch.zeros([2, 3, 4, 5])
        return x @ torch.zeros([7, 7])


@pytest.mark.parametrize(
    "kind,error,what",
    [
        ("nan", ValueError, "NaN"),
        ("class", ValueError, "names class"),
        ("minus", ValueError, "names class"),
        ("raises", ValueError, "fails on an input"),
        ("shape", NotImplementedError, "layouts"),
        ("fails", ValueError, "fails on an input.*shapes cannot be multiplied"),
    ],
)
def test_scripts_that_fail(tmp_path, image, kind, error, what):
    torch.jit.save(torch.jit.script(Odd(kind)), str(tmp_path / "odd.torchscript"))
    detector = segrid.ScriptedDetector(tmp_path / "odd.torchscript", trust=True, side=64)
    for _ in range(2):
        with pytest.raises(error, match=what):
            detector(image)
