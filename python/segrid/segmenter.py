"""The segmenter: image -> embedding -> masks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segrid._image import ImageLike, check_many, to_image
from segrid._native import Cancelled, CancelToken, _core
from segrid._types import Options, Progress
from segrid.embedding import Embedding
from segrid.loaded import LoadedModel
from segrid.prompt_arrays import box_array, hint_array, numbers, point_arrays
from segrid.results import Masks
from segrid.torch_names import Device, Precision

DEFAULT_POINTS = 32  # of `everything`, along each side of the grid


class Segmenter(LoadedModel):
    """A promptable segmentation model: SAM (Kirillov et al. 2023), SAM 2 and 2.1 on images (Ravi et
    al. 2024), EdgeTAM on images (Zhou et al. 2025), MobileSAM (Zhang et al. 2023). Immutable; share
    it between threads.

    Parameters
    ----------
    model : a packaged model's name ("tiny"), a folder with config.json and model.safetensors
        (transformers' SamModel, Sam2Model, Sam2VideoModel, EdgeTamModel, EdgeTamVideoModel; what
        `segrid convert` makes of original checkpoints), a .safetensors file beside its config.json,
        or a Hugging Face id, perhaps with "@revision". "tiny" serves for a first try and for round
        objects (nuclei, colonies, coins). It finds little of use on everyday photos; take
        "facebook/sam2.1-hiera-tiny" (a download of 156 MB, Apache-2.0) for those
    device : a name or a torch.device. "cpu" runs the fast kernels. "cuda" or "cuda:N" runs the
        plain definitions of the models on a GPU, with prompts in batches. "cpu-plain" runs these
        definitions on the CPU, to check them against the fast kernels. "auto" is the value of the
        environment variable SEGRID_DEVICE, else CUDA where torch finds a device, else the CPU
    precision : a name or a dtype of torch (float32, float16, bfloat16), in which the large matrix
        products run; everything between them is fp32. The property `precision` tells which one
        runs.
        "fp32". "bf16": the factors of products in encoder and decoder are rounded to bf16, and sums
        are in fp32; this needs AVX512-BF16 or AMX (`segrid info` lists them), and raises
        NotImplementedError without them. "int8": the Linear layers of the encoder's blocks have
        activations in u8 (a scale per token) and weights in s8 (a scale per output); the rest is as
        in bf16 where the CPU has it, else as in fp32. "int8-torch" is a baseline: the same layers
        go through LibTorch's dynamic quantisation, and the rest is fp32. On "cuda" and "cpu-plain",
        "fp32", "fp16" and "bf16" hold for all weights and activations; MobileSAM in fp16 is
        refused, because its encoder overflows. "auto": the fastest precision whose loss is small by
        the model's own table (`segrid.json`, see docs/precision.md); fp32 without a table
    threads : the largest number of threads of the process's budget that a call uses; None: all
    profile : a profile.json of `segrid tune`: its precision, its threads and its points along each
        side are the defaults of this object

    Raises FileNotFoundError, NotImplementedError (device, precision or model type that this version
    lacks), CorruptFileError (files that do not fit, every missing, unexpected and misshapen tensor
    named), ValueError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "tiny",
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
        profile: str | os.PathLike[str] | None = None,
    ) -> None:
        self._points_per_side = DEFAULT_POINTS
        if profile is not None:
            from segrid.profile import read_profile

            tuned = read_profile(profile)
            precision = tuned["precision"] if precision == "auto" else precision
            threads = tuned["threads"] if threads is None else threads
            self._points_per_side = tuned["points_per_side"]
        super().__init__(_core.Segmenter, model, device, precision, threads, profile=profile)

    @property
    def recommended(self) -> dict[str, float]:
        """The thresholds that `everything` uses where None is given."""
        return dict(self._engine.defaults)

    @property
    def working_scale(self) -> float | None:
        """The long side, in pixels, of the images and crops in which the model finds objects best.

        None where the model's segrid.json gives no value.
        """
        return self._engine.working_scale

    def encode(self, image: ImageLike) -> Embedding:
        """Encodes an image once for any number of prompts.

        image : path, bytes, PIL image, or array ((H, W, 3) uint8 RGB; see `read_image` for the
            rules of other arrays)

        Raises FileNotFoundError, IsADirectoryError, PermissionError, CorruptFileError, ValueError
        or TypeError (the image), MemoryError.
        Source: segment_anything.SamPredictor.set_image.
        """
        return Embedding(self._engine.encode(to_image(image)))

    @property
    def batched(self) -> bool:
        """Whether images and prompts are computed in batches: on devices, and not on the CPU."""
        return self._engine.batched

    def encode_batch(self, images: Iterable[ImageLike]) -> list[Embedding]:
        """Encodes images, of any sizes, for any number of prompts each.

        On a device up to 16 of them go through the encoder together, fewer where its memory does
        not take them; where it runs out the batch is halved, with a RuntimeWarning. All embeddings
        stay on the device while they are used. The features
        are those of `encode` but for rounding. On the CPU the images are encoded one after the
        other, with the features of `encode` to the bit.

        images : each as `encode` takes it; a lone image is not accepted: pass [image]

        Returns an embedding for each image, in their order. Raises TypeError for a lone image, and
        what `encode` raises, for the first image that cannot be read, before any is encoded.
        Source: sam2.SAM2ImagePredictor.set_image_batch.
        """
        check_many(images)
        pixels = [to_image(image) for image in images]
        return [Embedding(one) for one in self._engine.encode_batch(pixels)]

    def encode_resized(self, pixels: ArrayLike, image_size: tuple[int, int]) -> Embedding:
        """Encodes an image that is already resized for the model.

        It serves pipelines that resize and augment images by themselves.

        pixels : (h, w, 3) RGB, 0..255, any numeric dtype, not rounded; the long side is `side`
            (SAM, MobileSAM), or the size is `side` x `side` (SAM 2, EdgeTAM)
        image_size : (height, width) of the original image; prompts and masks are in its pixels

        Raises ValueError where (h, w) is not the size that the model gives an image of
        `image_size`, and for NaN or Inf.
        Source: segment_anything.SamPredictor.set_torch_image.
        """
        return Embedding(
            self._engine.encode_resized(np.ascontiguousarray(pixels, np.float32), image_size)
        )

    @property
    def low_res_size(self) -> tuple[int, int]:
        """(height, width) of the logits of a mask, and of mask hints, at the model's resolution."""
        return self._engine.low_res

    def restore(
        self,
        image_size: tuple[int, int],
        features: Sequence[NDArray[np.float32]],
        model_id: str,
        *,
        no_memory_added: bool,
    ) -> Embedding:
        """An embedding of features that were kept elsewhere; see `Embedding.of` and `load`.

        model_id : of the model that made the features
        no_memory_added : whether the image tokens hold SAM 2's "no memory" embedding

        Raises ValueError where that is another model, and for features of another shape.
        """
        return Embedding(self._engine.restore(image_size, features, model_id, no_memory_added))

    def predict(
        self,
        image: ImageLike | Embedding,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask_hints: ArrayLike | None = None,
        multimask: bool = False,
        sort_corners: bool = False,
        max_hole_area: int = 0,
        max_sprinkle_area: int = 0,
        mask_threshold: float = 0.0,
        anywhere: bool = False,
        batch_size: int | None = None,
    ) -> Masks:
        """Masks of P prompts (points, boxes, mask hints, or several of them for the same P).

        Parameters
        ----------
        points : (P, K, 2) x, y in image pixels; or (P, 2), one point for each prompt
        labels : (P, K) or (P,): 1 foreground, 0 background, -1 padding; 1 where not given
        boxes : (P, 4) XYXY in image pixels, or (4,) for one
        mask_hints : (P, h, w) float32 logits at the model's low resolution, such as `Masks.low_res`
        multimask : three masks for each prompt, in prompt order, rather than one
        max_hole_area, max_sprinkle_area : holes of at most this many low-resolution pixels are
            filled, and sprinkles are removed, as in sam2 (0: off)
        mask_threshold : a mask is the pixels whose logit is above it
        anywhere : accepts what the originals accept: points and boxes outside the image; boxes
            without area; other labels (only the position of such a point is encoded); prompts
            without points, (P, 0, 2). False: these raise
        batch_size : the largest number of prompts that are decoded at once; default: one for each
            thread; on a device as many as its memory takes. Masks do not depend on it, except that
            on a device products of another size round differently
        sort_corners : a box may name any two opposite corners. False: reversed boxes raise

        Returns P masks (3 P with `multimask`), upright, in image pixels, in the order of the
        prompts, without non-maximum suppression; `Masks.low_res` holds their logits.

        Raises ValueError naming index and value for points or boxes outside the image, reversed
        boxes, unknown labels, and no prompts at all; ValueError when another model made the
        embedding; and what `encode` raises.
        Source: segment_anything.SamPredictor.predict; sam2.SAM2ImagePredictor.predict.
        """
        pixels = None
        if isinstance(image, Embedding):
            embedding = image.in_engine(self._engine)
        else:
            pixels = to_image(image)
            embedding = self._engine.encode(pixels)
        points, labels = point_arrays(points, labels, anywhere=anywhere)
        boxes = None if boxes is None else box_array(boxes, sort_corners=sort_corners)
        hints = None if mask_hints is None else hint_array(mask_hints)
        found = self._engine.predict(
            embedding,
            points,
            labels,
            boxes,
            hints,
            anywhere,
            {
                "multimask": multimask,
                "mask_threshold": mask_threshold,
                "max_hole_area": max_hole_area,
                "max_sprinkle_area": max_sprinkle_area,
                "batch_size": batch_limit(batch_size),
            },
        )
        return Masks(found, pixels)

    def everything(
        self,
        image: ImageLike | Embedding,
        *,
        points_per_side: int | None = None,
        target_points: int | None = None,
        point_grids: Sequence[ArrayLike] | None = None,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int | Literal["auto"] = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        min_mask_region_area: int = 0,
        region_connectivity: int = 8,
        multimask: bool = True,
        use_m2m: bool = False,
        max_hole_area: int = 0,
        max_sprinkle_area: int = 0,
        min_area_frac: float = 0.0,
        mask_iou_thresh: float | None = None,
        containment_thresh: float | None = None,
        crop_containment_thresh: float | None = None,
        max_masks: int | None = None,
        any_thresholds: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Masks:
        """Segments everything on a grid of points, as segment_anything.SamAutomaticMaskGenerator
        does, then filters the masks.

        Parameters
        ----------
        points_per_side : points along each side of the grid; default: 32, or the profile's number
        target_points : in its place, the approximate number of points: the side is round(sqrt(n))
        point_grids : in its place, one (N, 2) array of points in 0..1 for each crop layer
        pred_iou_thresh, stability_score_thresh, containment_thresh, crop_containment_thresh : None
            is the model's recommended value (`recommended`); 0 turns the first two off, and 1.0
            turns the containment filters off
        mask_threshold : a mask is the pixels whose logit is above it; the stability score is
            measured around it
        stability_score_offset ... min_mask_region_area : as in segment-anything
        crop_n_layers : layers of crops, with 2^i x 2^i overlapping crops in layer i. "auto" is the
            least number whose smallest crops are as small as the model's `working_scale`, within
            the limit on points; it is 0 for a model without such a scale. The default here is 0,
            as in segment-anything; the command line's is "auto", which finds more on large images
        region_connectivity : 8 (as in segment-anything) or 4, of the parts and holes that
            `min_mask_region_area` removes
        multimask, use_m2m, max_hole_area, max_sprinkle_area : as in sam2: three masks for each
            point or one; a second pass that has each mask as its hint; holes of at most this many
            low-resolution pixels are filled, and sprinkles are removed
        min_area_frac : drops masks whose area is below this share of the image
        mask_iou_thresh : drops a mask whose mask IoU with a better one exceeds it (None: off)
        containment_thresh : drops a mask whose intersection with a better one, over the smaller
            area, exceeds it
        crop_containment_thresh : the same for two masks of different crops, so that an object at
            the border of two crops is found once
        max_masks : keeps those with the highest predicted IoU
        any_thresholds : pred_iou_thresh and stability_score_thresh may lie outside 0..1 (a
            predicted IoU can exceed 1), as the originals allow, rather than raise
        progress : called on this thread with {"stage", "done", "total", "kept", "elapsed",
            "memory_mb"}
        cancel : a token; when it is cancelled, the call raises `segrid.Cancelled`. That exception
            and KeyboardInterrupt have `partial`: the masks of the points that were decoded before,
            after the thresholds. Box NMS has run in finished crops only. On very large images,
            masks that did not fit in memory are missing

        Returns masks in segment-anything's order. Raises ValueError naming the option, Cancelled,
        MemoryError, and what `encode` raises.
        Source: segment_anything.SamAutomaticMaskGenerator. crop_n_layers="auto", the last four
        thresholds and target_points are segrid's own.
        """
        arguments = dict(locals())
        names = ("target_points", *_core.Segmenter.everything_options())
        options = self._resolved({name: arguments.get(name) for name in names})
        pixels = None if isinstance(image, Embedding) else to_image(image)
        source = image.in_engine(self._engine) if isinstance(image, Embedding) else pixels
        unfinished: list[_core.MaskSet] = []
        try:
            found = self._engine.everything(source, options, progress, cancel, unfinished.append)
        except (Cancelled, KeyboardInterrupt) as stop:
            stop.partial = (  # type: ignore[union-attr]
                Masks(unfinished[0], pixels) if unfinished else None
            )
            raise
        return Masks(found, pixels)

    def check_options(self, **options: Any) -> None:
        """Checks options of `everything` before any image is read.

        Raises ValueError naming the option, KeyError for one that `everything` does not have.
        """
        self._engine.check_everything(self._resolved(options))

    def _resolved(self, options: Options) -> Options:
        """The options as the engine takes them: one way to give the grid, and the model's
        recommended thresholds where None is given."""
        ways = ("points_per_side", "target_points", "point_grids")
        given = [way for way in ways if options.get(way) is not None]
        if len(given) > 1:
            raise ValueError(f"everything: give one of {', '.join(ways)}; got {', '.join(given)}")
        options = {name: value for name, value in options.items() if value is not None}
        target = options.pop("target_points", None)
        if target is not None:
            if not 1 <= target <= 250_000:
                raise ValueError(f"target_points: must be from 1 to 250000, got {target}")
            options["points_per_side"] = max(1, round(target**0.5))
        if "point_grids" in options:
            options["point_grids"] = [numbers("point_grids", g) for g in options["point_grids"]]
        return {"points_per_side": self._points_per_side} | self.recommended | options


def batch_limit(batch_size: int | None) -> int:
    """The batch size as the engine takes it, 0 for no limit. Raises ValueError below 1."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: must be at least 1, got {batch_size}")
    return batch_size or 0
