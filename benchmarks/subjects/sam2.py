"""sam2's predictor and SAM2AutomaticMaskGenerator on the same weights; bf16 and fp16 are autocast,
as in sam2's examples."""

import contextlib
from pathlib import Path


class Subject:
    def __init__(self, model, threads, precision="fp32", device="cpu"):
        import torch

        from tests.models.sam2 import original

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.precision, self.device = precision, "cpu" if device == "cpu-plain" else device
        self.model = original(Path(model).name.removeprefix("segrid-")).to(self.device)
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        self.predictor = SAM2ImagePredictor(self.model)

    def autocast(self):
        import torch

        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        return (
            contextlib.nullcontext()
            if self.precision == "fp32"
            else torch.autocast(torch.device(self.device).type, types[self.precision])
        )

    def warm_up(self, image):
        with self.autocast():
            self.predictor.set_image(image[:64, :64])

    def everything(self, image, options):
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

        with self.autocast():
            records = SAM2AutomaticMaskGenerator(
                self.model, output_mode="coco_rle", **options
            ).generate(image)
        return [r["segmentation"] for r in records], {}

    def encode(self, image):
        with self.autocast():
            self.predictor.set_image(image)
        return self.predictor.get_image_embedding().float().cpu().numpy()

    def low_res(self, points):
        import numpy as np
        import torch

        p = self.predictor
        placed = p._transforms.transform_coords(
            torch.from_numpy(np.asarray(points, float)).float(),
            normalize=True,
            orig_hw=p._orig_hw[-1],
        ).to(self.device)
        with self.autocast():
            sparse, dense = p.model.sam_prompt_encoder(
                points=(placed, torch.ones(placed.shape[:2], dtype=torch.int, device=self.device)),
                boxes=None,
                masks=None,
            )
            masks = p.model.sam_mask_decoder(
                image_embeddings=p._features["image_embed"],
                image_pe=p.model.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
                repeat_image=True,
                high_res_features=p._features["high_res_feats"],
            )[0]
        return masks.float().flatten(0, 1).cpu().numpy()

    def decode(self, points):
        return self.low_res(points)

    def click(self, point):
        import numpy as np

        with self.autocast():
            return self.predictor.predict(
                point_coords=np.asarray([point]), point_labels=np.ones(1), multimask_output=True
            )[2]

    def boxes(self, boxes):
        """One mask for each box, (N, H, W) bool, with all boxes in one batch."""
        with self.autocast():
            masks = self.predictor.predict(box=boxes, multimask_output=False)[0]
        return masks.reshape(-1, *masks.shape[-2:]).astype(bool)
