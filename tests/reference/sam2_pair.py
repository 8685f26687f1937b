"""A model of ours and transformers' model with SAM 2's calls on equal weights, and what tests ask
both of them."""

import numpy as np
import segrid
import torch
from PIL import Image

PROMPTS = {
    "point": dict(points=[[[50, 60]]], labels=[[1]]),
    "points": dict(points=[[[50, 60], [80, 20], [10, 140]]], labels=[[1, 0, 1]]),
    "box": dict(boxes=[[20, 30, 150, 120]]),
    "point and box": dict(points=[[[50, 60]]], labels=[[0]], boxes=[[20, 30, 150, 120]]),
    "several": dict(points=[[[50, 60]], [[200, 20]], [[110, 140]]], labels=[[1], [1], [1]]),
}


class Pair:
    """Our model and transformers' on equal weights, an image, and its pixels for transformers,
    which sam2's own transform makes (floats, antialiased)."""

    def __init__(self, folder, theirs, image, device):
        self.folder, self.theirs, self.image, self.device = folder, theirs, image, device
        self.ours = segrid.Segmenter(folder, device=device)
        self.side = theirs.config.prompt_encoder_config.image_size
        pixels = torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
        pixels = torch.nn.functional.interpolate(
            pixels, (self.side, self.side), mode="bilinear", antialias=True, align_corners=False
        )
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        self.pixels = (pixels - mean) / std

    def predict(self, prompt, multimask, hint=None):
        """transformers' outputs for a prompt in the image's pixels."""
        scale = np.array([self.side / self.image.shape[1], self.side / self.image.shape[0]])
        given = {}
        if "points" in prompt:
            given["input_points"] = torch.tensor(np.array(prompt["points"]) * scale).float()[None]
            given["input_labels"] = torch.tensor(prompt["labels"])[None]
        if "boxes" in prompt:
            given["input_boxes"] = torch.tensor(
                np.array(prompt["boxes"]) * np.tile(scale, 2)
            ).float()[None]
        if hint is not None:
            given["input_masks"] = torch.tensor(hint)[None, None]
        with torch.no_grad():
            return self.theirs(self.pixels, multimask_output=multimask, **given)

    def check_features(self, taps):
        """Compares our taps "features_0" to "features_2" with transformers' features, which it
        gives from fine to coarse, the last with the embedding for no memory."""
        with torch.no_grad():
            theirs = self.theirs.get_image_embeddings(self.pixels)[::-1]
        theirs[0] = theirs[0] - self.theirs.no_memory_embedding.view(1, -1, 1, 1)
        for i, value in enumerate(theirs):
            close(f"features_{i}", taps[f"features_{i}"], value[0].flatten(1).T.numpy())

    def check_prompt(self, prompt, multimask):
        """Compares logits, predicted IoUs, object scores and masks of our model with
        transformers'."""
        ours = self.ours.predict(self.image, **prompt, multimask=multimask)
        theirs = self.predict(prompt, multimask)
        logits = theirs.pred_masks[0].flatten(0, 1).numpy()
        assert logits.std() > 1 and 0.02 < (logits > 0).mean() < 0.98, "vacuous"
        close("logits", ours.low_res, logits)
        close("iou", ours.scores, theirs.iou_scores[0].flatten().numpy())
        close(
            "object score",
            ours.object_scores,
            np.repeat(theirs.object_score_logits[0].flatten().numpy(), 3 if multimask else 1),
        )
        full = torch.nn.functional.interpolate(
            theirs.pred_masks[0].flatten(0, 1)[None],
            self.image.shape[:2],
            mode="bilinear",
            align_corners=False,
        )[0]
        agree = (ours.array == (full > 0).numpy()).mean()
        assert agree > 0.9995, agree


def smooth_image(size):
    noise = np.random.default_rng(3).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(size, Image.BICUBIC))


def close(name, ours, theirs, gate=1e-4):
    """`ours` is at most `gate` of the largest value of `theirs` off."""
    worst = np.abs(ours - theirs).max()
    assert worst <= gate * np.abs(theirs).max(), (
        f"{name}: off by {worst:.3g}, largest {np.abs(theirs).max():.3g}"
    )
