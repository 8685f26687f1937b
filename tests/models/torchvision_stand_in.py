"""The few functions of torchvision that segment-anything, sam2 and timm import, for machines where
torchvision has no build. Import the packages through import_segment_anything(), import_sam2() and
import_timm().

NMS is torchvision's CPU algorithm: stable sort by score, float32 IoU, suppression above the
threshold."""

import enum
import importlib
import sys
import types

import numpy as np
import torch
from PIL import Image


def nms(boxes, scores, iou_threshold):
    order = torch.sort(scores, descending=True, stable=True)[1].numpy()
    b = boxes.float().numpy()
    x0, y0, x1, y1 = (b[order, i] for i in range(4))
    areas = (x1 - x0) * (y1 - y0)
    dropped = np.zeros(len(order), bool)
    kept = []
    for i in range(len(order)):
        if dropped[i]:
            continue
        kept.append(int(order[i]))
        w = np.maximum(
            np.float32(0), np.minimum(x1[i], x1[i + 1 :]) - np.maximum(x0[i], x0[i + 1 :])
        )
        h = np.maximum(
            np.float32(0), np.minimum(y1[i], y1[i + 1 :]) - np.maximum(y0[i], y0[i + 1 :])
        )
        inter = w * h
        with np.errstate(invalid="ignore", divide="ignore"):
            dropped[i + 1 :] |= (inter / (areas[i] + areas[i + 1 :] - inter)).astype(
                np.float64
            ) > iou_threshold
    return torch.tensor(kept, dtype=torch.int64)


def batched_nms(boxes, scores, idxs, iou_threshold):
    assert (idxs == 0).all()
    return nms(boxes, scores, iou_threshold)


class Resize(torch.nn.Module):
    """torchvision's Resize of a float tensor: bilinear, antialiased."""

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.height, self.width = size

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(
            image[None],
            (self.height, self.width),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )[0]


class Normalize(torch.nn.Module):
    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.mean) / self.std


class ToTensor:
    def __call__(self, image):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255


class Interpolation(enum.Enum):
    """torchvision's InterpolationMode."""

    NEAREST, BILINEAR, BICUBIC, BOX, HAMMING, LANCZOS = range(6)


class FrozenBatchNorm2d(torch.nn.Module):
    """timm asks whether a layer is one."""


# timm imports the names of torchvision's data sets, and uses them only to load one.
DATASETS = ("CIFAR10", "CIFAR100", "MNIST", "KMNIST", "FashionMNIST", "ImageFolder")


def _import(name):
    """Imports a module. The stand-in is visible only during the import, because other packages
    (transformers) must not take it for torchvision."""
    names = (
        "torchvision",
        "torchvision.ops",
        "torchvision.ops.boxes",
        "torchvision.ops.misc",
        "torchvision.datasets",
        "torchvision.transforms",
        "torchvision.transforms.functional",
    )
    modules = {n: types.ModuleType(n) for n in names}
    boxes = modules["torchvision.ops.boxes"]
    transforms = modules["torchvision.transforms"]
    functional = modules["torchvision.transforms.functional"]
    boxes.batched_nms = batched_nms
    boxes.box_area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    transforms.Normalize, transforms.Resize, transforms.ToTensor = Normalize, Resize, ToTensor
    modules["torchvision.ops.misc"].FrozenBatchNorm2d = FrozenBatchNorm2d
    for data in DATASETS:
        setattr(modules["torchvision.datasets"], data, None)
    functional.InterpolationMode = Interpolation
    functional.to_pil_image = Image.fromarray
    functional.resize = lambda image, size: image.resize((size[1], size[0]), Image.BILINEAR)
    for full, module in modules.items():
        if "." in full:
            parent, child = full.rsplit(".", 1)
            setattr(modules[parent], child, module)
    before = {n: sys.modules.get(n) for n in names}
    sys.modules.update(modules)
    try:
        return importlib.import_module(name)
    finally:
        for full, module in before.items():
            if module is None:
                del sys.modules[full]
            else:
                sys.modules[full] = module


def import_segment_anything():
    return _import("segment_anything")


def import_sam2():
    """The package sam2, with its predictor and its generator imported."""
    _import("sam2.automatic_mask_generator")
    return _import("sam2")


def import_timm():
    return _import("timm")
