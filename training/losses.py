"""Losses of low-resolution masks, balanced so that small objects count, and of predicted IoUs."""

import torch
import torch.nn.functional as F


def iou(logits, masks):
    """IoU (..., ) of logits > 0 with soft masks in 0..1, both (..., h, w)."""
    found = (logits > 0).to(masks.dtype)
    both = (found * masks).sum((-1, -2))
    return both / (found.sum((-1, -2)) + masks.sum((-1, -2)) - both).clamp(min=1)


def mask_terms(logits, masks, sharp):
    """The loss of each mask (..., ): 2 x focal + dice + `sharp` x balanced BCE. Positives of the
    focal loss are divided by (area + 8), negatives by (area + 2 % of the image)."""
    area = masks.sum((-1, -2))
    pixels = masks.shape[-1] * masks.shape[-2]
    probability = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, masks.expand_as(logits), reduction="none")
    weight = (
        masks / (area + 8)[..., None, None] + (1 - masks) / (area + 0.02 * pixels)[..., None, None]
    )
    weighted = cross * weight
    focal = (weighted * (probability - masks).square()).sum((-1, -2))
    both = (probability * masks).sum((-1, -2))
    dice = 1 - (2 * both + 1) / (probability.sum((-1, -2)) + area + 1)
    total = 2 * focal + dice
    return total + sharp * weighted.sum((-1, -2)) if sharp else total


def total_loss(masks_out, iou_out, masks, real, single_weight, mean_weight, sharp):
    """masks_out (B, P, 4, h, w) and iou_out (B, P, 4), the single mask first; masks (B, P, h, w) in
    0..1; real and single_weight (B, P). Returns the loss and a dict of floats for the log."""
    targets = masks[:, :, None]
    true = iou(masks_out.detach(), targets) * real[..., None]
    terms = mask_terms(masks_out, targets, sharp)
    multi = terms[..., 1:].min(-1).values + mean_weight * terms[..., 1:].mean(-1)
    count = real.sum().clamp(min=1)
    mask_loss = ((multi + single_weight * terms[..., 0]) * real).sum() / count
    iou_loss = (iou_out - true).square().mean()
    chosen = true[..., 1:].gather(-1, iou_out[..., 1:].argmax(-1, keepdim=True))[..., 0]
    log = {
        "mask": float(mask_loss.detach()),
        "iou_error": float(iou_loss.detach()),
        "chosen": float((chosen * real).sum() / count),
        "best": float((true[..., 1:].max(-1).values * real).sum() / count),
    }
    return mask_loss + 3 * iou_loss, log


def weights_of(box, points):
    """Weight of the single mask's loss (B, P): 1 for boxes and several points, 0.35 for one
    click."""
    return torch.where(box | (points > 1), 1.0, 0.35)
