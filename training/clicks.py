"""Clicks on one picture, answered by the network in PyTorch at the picture's own size."""

import cv2
import torch
import torch.nn.functional as F

from .sample import pad


def embed(net, image):
    """Embedding (1, L, C) of an (H, W, 3) uint8 picture, and its scale to the model frame and valid
    size."""
    h, w = image.shape[:2]
    scale = net.size / max(h, w)
    size = (max(1, round(h * scale)), max(1, round(w * scale)))
    small = cv2.resize(
        image, size[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    device = next(net.parameters()).device
    pixels = net.normalise(
        torch.from_numpy(pad(small, net.size))[None].to(device), torch.tensor([size], device=device)
    )
    return net.vision_encoder(pixels), scale, size


def clicks(net, embedded, points, scale, batch=64):
    """One positive click per prompt, (N, 2) in picture pixels: low-res masks (N, 4, h, w) and IoU
    (N, 4), fp32."""
    masks, scores = [], []
    for part in torch.as_tensor(points, dtype=torch.float32, device=embedded.device).split(batch):
        at = torch.stack([part * scale, torch.zeros_like(part)], 1)[None]
        labels = torch.tensor([1, -1], device=part.device).expand(1, len(part), 2)
        m, s = net.decode(embedded, at, labels)
        masks.append(m[0].float())
        scores.append(s[0].float())
    return torch.cat(masks), torch.cat(scores)


def enlarge(logits, net_size, size, shape):
    """Low-res logits (N, h, w) to the picture's `shape`: to the model frame, cut, to the picture,
    as SAM does."""
    frame = F.interpolate(
        logits[:, None], (net_size, net_size), mode="bilinear", align_corners=False
    )
    frame = frame[:, :, : size[0], : size[1]]
    return F.interpolate(frame, tuple(shape), mode="bilinear", align_corners=False)[:, 0]
