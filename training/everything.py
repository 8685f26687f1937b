"""A simple "segment everything" in PyTorch: the reference that the figures of training use until the
engine's own.

Grid of clicks, three masks each, predicted-IoU and stability filters, box NMS, crops for large frames (masks
cut by a crop's edge are dropped, smaller crops win, as in segment-anything), and the containment filter."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .sample import pad

CROP_OVERLAP = 512 / 1500
DEFAULTS = dict(pred_iou_thresh=0.5, stability_score_thresh=0.75, stability_score_offset=1.0,
box_nms_thresh=0.7,
                crop_nms_thresh=0.7, containment_thresh=0.7, points_per_side=24)  # fmt: skip


def auto_layers(height, width, working=400):
    """Crop layers so that the smallest crops are about the model's working scale: 0 up to 400 px, 1 to 800,
    2 above."""
    longest = max(height, width)
    return 0 if longest <= working else 1 if longest <= 2 * working else 2


def crop_boxes(height, width, layers):
    """segment-anything's crops: XYXY and layer of the frame and of 2^l x 2^l overlapping windows per layer
    l."""
    out = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        n = 2**layer
        overlap = int(CROP_OVERLAP * min(height, width) * (2 / n))
        cw, ch = (int(np.ceil((overlap * (n - 1) + side) / n)) for side in (width, height))
        for x in range(n):
            for y in range(n):
                x0, y0 = (cw - overlap) * x, (ch - overlap) * y
                out.append(((x0, y0, min(x0 + cw, width), min(y0 + ch, height)), layer))
    return out


def embed(net, image):
    """Embedding (1, L, C) of an (H, W, 3) uint8 picture, and its scale to the model frame and valid size."""
    h, w = image.shape[:2]
    scale = net.size / max(h, w)
    size = (max(1, round(h * scale)), max(1, round(w * scale)))
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    device = next(net.parameters()).device
    pixels = net.normalise(
        torch.from_numpy(pad(small, net.size))[None].to(device), torch.tensor([size], device=device)
    )
    return net.vision_encoder(pixels), scale, size


def clicks(net, embedded, points, scale, batch=64):
    """One positive click per prompt, (N, 2) in picture pixels: low-res masks (N, 4, h, w) and IoU (N, 4),
    fp32."""
    masks, scores = [], []
    for part in torch.as_tensor(points, dtype=torch.float32, device=embedded.device).split(batch):
        at = torch.stack([part * scale, torch.zeros_like(part)], 1)[None]
        labels = torch.tensor([1, -1], device=part.device).expand(1, len(part), 2)
        m, s = net.decode(embedded, at, labels)
        masks.append(m[0].float())
        scores.append(s[0].float())
    return torch.cat(masks), torch.cat(scores)


def enlarge(logits, net_size, size, shape):
    """Low-res logits (N, h, w) to the picture's `shape`: to the model frame, cut, to the picture, as SAM
    does."""
    frame = F.interpolate(logits[:, None], (net_size, net_size), mode="bilinear", align_corners=False)
    frame = frame[:, :, : size[0], : size[1]]
    return F.interpolate(frame, tuple(shape), mode="bilinear", align_corners=False)[:, 0]


def box_nms(boxes, order, threshold):
    """Indices kept, in `order`; boxes (N, 4)."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    for i in order:
        if kept:
            others = boxes[kept]
            low, high = np.maximum(others[:, :2], boxes[i, :2]), np.minimum(others[:, 2:], boxes[i, 2:])
            both = np.prod(np.clip(high - low, 0, None), 1)
            if (both / np.maximum(area[kept] + area[i] - both, 1e-9) > threshold).any():
                continue
        kept.append(int(i))
    return kept


def _one_crop(net, image, box, frame, s):
    """The masks of one crop after its own filters: list of (score, XYXY in the frame, bool mask of the crop,
    box)."""
    x0, y0, x1, y1 = box
    part = np.ascontiguousarray(image[y0:y1, x0:x1])
    h, w = part.shape[:2]
    embedded, scale, size = embed(net, part)
    n = s["points_per_side"]
    at = (np.arange(n) + 0.5) / n
    points = np.stack(np.meshgrid(at * w, at * h), -1).reshape(-1, 2)
    masks, scores = clicks(net, embedded, points, scale)
    masks, scores = masks[:, 1:].flatten(0, 1), scores[:, 1:].flatten()
    masks[:, (size[0] + 1) // 2 :] = -100.0  # the padding
    masks[:, :, (size[1] + 1) // 2 :] = -100.0
    keep = scores > s["pred_iou_thresh"]
    masks, scores = masks[keep], scores[keep]
    offset = s["stability_score_offset"]
    stability = (masks > offset).sum((1, 2)) / (masks > -offset).sum((1, 2)).clamp(min=1)
    keep = stability >= s["stability_score_thresh"]
    masks, scores = masks[keep], scores[keep].cpu().numpy()
    rows = (masks > 0).any(2).cpu().numpy()
    columns = (masks > 0).any(1).cpu().numpy()
    cell = 2 / scale
    boxes = (
        np.array(
            [
                [c.argmax(), r.argmax(), len(c) - c[::-1].argmax(), len(r) - r[::-1].argmax()]
                for r, c in zip(rows, columns, strict=True)
            ]
        ).reshape(-1, 4)
        * cell
    )
    filled = rows.any(1)
    inner = np.array([x0 > 0, y0 > 0, x1 < frame[1], y1 < frame[0]])
    cut = (np.abs(boxes - np.array([0, 0, w, h])) < 1.5 * cell + 2) & inner
    good = np.flatnonzero(filled & ~cut.any(1))
    order = good[np.argsort(-scores[good], kind="stable")]
    found = []
    for i in box_nms(boxes, order, s["box_nms_thresh"]):
        mask = (enlarge(masks[i][None], net.size, size, (h, w))[0] > 0).cpu().numpy()
        if mask.any():
            found.append((float(scores[i]), boxes[i] + (x0, y0, x0, y0), mask, box))
    return found


def contained(masks, scores, threshold):
    """Indices kept, best score first: a mask goes when its intersection with a kept one, over the smaller
    area, exceeds the threshold. masks (N, h, w) bool."""
    flat = torch.from_numpy(masks.reshape(len(masks), -1)).float()
    both, area = (flat @ flat.T).numpy(), flat.sum(1).numpy()
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        over = both[i, kept] / np.maximum(np.minimum(area[i], area[kept]), 1)
        if not (over > threshold).any():
            kept.append(int(i))
    return kept


@torch.no_grad()
def everything(net, image, **settings):
    """All masks of an (H, W, 3) uint8 picture: (bool (N, H, W), scores (N,)), best first."""
    s = DEFAULTS | settings
    h, w = image.shape[:2]
    found = []
    for box, layer in crop_boxes(h, w, s.get("crop_n_layers", auto_layers(h, w))):
        found += [(layer, *item) for item in _one_crop(net, image, box, (h, w), s)]
    if not found:
        return np.zeros((0, h, w), bool), np.zeros(0)
    boxes, scores = np.array([f[2] for f in found]), np.array([f[1] for f in found])
    order = np.lexsort((-scores, [-f[0] for f in found]))
    kept = box_nms(boxes, order, s["crop_nms_thresh"])
    masks = np.zeros((len(kept), h, w), bool)
    for row, i in enumerate(kept):
        x0, y0, x1, y1 = found[i][4]
        masks[row, y0:y1, x0:x1] = found[i][3]
    scores = scores[kept]
    step = max(1, max(h, w) // 400)
    kept = contained(masks[:, ::step, ::step], scores, s["containment_thresh"])
    return masks[kept], scores[kept]
