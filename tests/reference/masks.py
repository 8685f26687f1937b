"""Properties of masks, and the choice of masks that are kept."""

import numpy as np


def counts(mask: np.ndarray) -> list[int]:
    """Uncompressed COCO RLE: column-major run lengths beginning with a run of zeros."""
    out, now = [0], False
    for pixel in mask.T.ravel():
        if pixel != now:
            out.append(0)
            now = bool(pixel)
        out[-1] += 1
    return out


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Row-major half-open intervals, merged where they touch, also across rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel().astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def inclusive_box(mask: np.ndarray) -> list[int]:
    if not mask.any():
        return [0, 0, 0, 0]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])]


def stability(logits: np.ndarray, threshold: float, offset: float) -> np.float32:
    above, below = (logits > threshold + offset).sum(), (logits > threshold - offset).sum()
    return np.float32(0) if below == 0 else np.float32(above) / np.float32(below)


def box_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """torchvision.ops.nms on the CPU: float32 IoU, stable order by descending score."""
    boxes = boxes.astype(np.float32)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-scores.astype(np.float32), kind="stable")
    kept: list[int] = []
    dropped = np.zeros(len(boxes), bool)
    for position, i in enumerate(order):
        if dropped[i]:
            continue
        kept.append(int(i))
        for j in order[position + 1 :]:
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            high = np.minimum(boxes[i, 2:], boxes[j, 2:])
            w, h = np.maximum(np.float32(0), high - low)
            inter = np.float32(w * h)
            union = areas[i] + areas[j] - inter
            if union != 0 and float(inter / union) > threshold:
                dropped[j] = True
    return kept


def mask_nms(masks: np.ndarray, order: list[int], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in order:
        for j in kept:
            shared, union = (masks[i] & masks[j]).sum(), (masks[i] | masks[j]).sum()
            if union and shared > threshold * union:
                break
        else:
            kept.append(i)
    return kept


def containment(
    masks: np.ndarray,
    order: list[int],
    within: float,
    crops: list[int] | None = None,
    across: float = 1.0,
) -> list[int]:
    kept: list[int] = []
    for i in order:
        for j in kept:
            threshold = within if crops is None or crops[i] == crops[j] else across
            shared, smaller = (masks[i] & masks[j]).sum(), min(masks[i].sum(), masks[j].sum())
            if shared > threshold * smaller:
                break
        else:
            kept.append(i)
    return kept


def label_map(masks: np.ndarray) -> np.ndarray:
    """0 is background; a smaller mask covers a larger one, and at equal areas a later one covers an
    earlier one."""
    labels = np.zeros(masks.shape[1:], np.uint32)
    for i in sorted(range(len(masks)), key=lambda i: -int(masks[i].sum())):
        labels[masks[i]] = i + 1
    return labels


def resize_nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows = (2 * np.arange(size[0]) + 1) * mask.shape[0] // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * mask.shape[1] // (2 * size[1])
    return mask[rows][:, columns]
