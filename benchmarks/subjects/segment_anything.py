"""segment-anything's predictor and SamAutomaticMaskGenerator on the same weights; bf16 and fp16 are
autocast around the networks, as users do it."""


class Subject:
    def __init__(self, model, threads, precision="fp32", device="cpu"):
        import torch

        from tests.models.sam import to_segment_anything

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.precision = precision
        self.threads = threads
        self.device = "cpu" if device == "cpu-plain" else device
        self.model = self.prepare(to_segment_anything(model).to(self.device))
        from segment_anything import SamPredictor

        self.predictor = SamPredictor(self.model)

    def prepare(self, sam):
        """The model to measure. Subclasses replace its networks by those of other runtimes."""
        if self.precision != "fp32":
            for module in (sam.image_encoder, sam.mask_decoder):
                in_autocast(
                    module, self.device, {"bf16": "bfloat16", "fp16": "float16"}[self.precision]
                )
        return sam

    def warm_up(self, image):
        self.predictor.set_image(image[:64, :64])

    def everything(self, image, options):
        from segment_anything import SamAutomaticMaskGenerator

        records = SamAutomaticMaskGenerator(self.model, output_mode="coco_rle", **options).generate(
            image
        )
        return [r["segmentation"] for r in records], {}

    def encode(self, image):
        self.predictor.set_image(image)
        return self.predictor.features.float().cpu().numpy()

    def low_res(self, points):
        """The predictor's predict_torch without the upsampling to the image's size."""
        import numpy as np
        import torch

        p = self.predictor
        placed = (
            torch.from_numpy(p.transform.apply_coords(np.asarray(points, float), p.original_size))
            .float()
            .to(self.device)
        )
        labels = torch.ones(placed.shape[:2], dtype=torch.int, device=self.device)
        sparse, dense = p.model.prompt_encoder(points=(placed, labels), boxes=None, masks=None)
        masks, _ = p.model.mask_decoder(
            image_embeddings=p.features,
            image_pe=p.model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return masks.float().flatten(0, 1).cpu().numpy()

    def decode(self, points):
        return self.low_res(points)

    def click(self, point):
        import numpy as np

        return self.predictor.predict(
            point_coords=np.asarray([point]), point_labels=np.ones(1), multimask_output=True
        )[2]

    def boxes(self, boxes):
        """One mask for each box, (N, H, W) bool, by predict_torch with all boxes in one batch."""
        import torch

        p = self.predictor
        placed = p.transform.apply_boxes_torch(torch.from_numpy(boxes), p.original_size).to(
            self.device
        )
        return (
            p.predict_torch(
                point_coords=None, point_labels=None, boxes=placed, multimask_output=False
            )[0][:, 0]
            .cpu()
            .numpy()
        )

    def postprocess(self, logits, size):
        """The generator's work on masks, for 64 prompts at a time: upsampling, stability,
        threshold, boxes, RLE."""
        import torch
        from segment_anything.utils.amg import (
            batched_mask_to_box,
            calculate_stability_score,
            coco_encode_rle,
            mask_to_rle_pytorch,
        )

        scale = self.model.image_encoder.img_size / max(size)
        resized = tuple(int(s * scale + 0.5) for s in size)
        masks = self.model.postprocess_masks(torch.from_numpy(logits)[None], resized, size)[0]
        calculate_stability_score(masks, 0.0, 1.0)
        masks = masks > 0.0
        batched_mask_to_box(masks)
        for rle in mask_to_rle_pytorch(masks):
            coco_encode_rle(rle)
        return masks.sum((1, 2)).tolist()


def in_autocast(module, device, dtype):
    """Makes a module's forward run in autocast and return fp32."""
    import torch

    forward = module.forward

    def low(*args, **kwargs):
        with torch.autocast(torch.device(device).type, getattr(torch, dtype)):
            out = forward(*args, **kwargs)
        return tuple(o.float() for o in out) if isinstance(out, tuple) else out.float()

    module.forward = low
