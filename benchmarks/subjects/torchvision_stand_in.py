"""The few functions of torchvision that segment-anything imports, for machines where torchvision has no build. Import it through import_segment_anything().

NMS is torchvision's CPU algorithm: stable sort by score, float32 IoU, suppression above the threshold.
"""

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
        w = np.maximum(np.float32(0), np.minimum(x1[i], x1[i + 1:]) - np.maximum(x0[i], x0[i + 1:]))
        h = np.maximum(np.float32(0), np.minimum(y1[i], y1[i + 1:]) - np.maximum(y0[i], y0[i + 1:]))
        inter = w * h
        with np.errstate(invalid="ignore", divide="ignore"):
            dropped[i + 1:] |= (inter / (areas[i] + areas[i + 1:] - inter)).astype(np.float64) > iou_threshold
    return torch.tensor(kept, dtype=torch.int64)


def batched_nms(boxes, scores, idxs, iou_threshold):
    assert (idxs == 0).all()
    return nms(boxes, scores, iou_threshold)


def import_segment_anything():
    """segment_anything, with the stand-in visible only while it is imported: others (transformers) must not take it for torchvision."""
    names = ("torchvision", "torchvision.ops", "torchvision.ops.boxes", "torchvision.transforms", "torchvision.transforms.functional")
    modules = {n: types.ModuleType(n) for n in names}
    boxes, functional = modules["torchvision.ops.boxes"], modules["torchvision.transforms.functional"]
    boxes.batched_nms = batched_nms
    boxes.box_area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    functional.to_pil_image = Image.fromarray
    functional.resize = lambda image, size: image.resize((size[1], size[0]), Image.BILINEAR)
    for name, module in modules.items():
        if "." in name:
            parent, child = name.rsplit(".", 1)
            setattr(modules[parent], child, module)
    before = {n: sys.modules.get(n) for n in names}
    sys.modules.update(modules)
    try:
        import segment_anything
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return segment_anything
