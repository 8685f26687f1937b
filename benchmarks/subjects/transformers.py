"""transformers' SamModel: the image encoder and the mask decoder; bf16 is autocast. Its
mask-generation pipeline needs torchvision, so it does not run everything mode."""


class Subject:
    def __init__(self, model, threads, precision="fp32"):
        import torch
        from transformers import SamModel

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = SamModel.from_pretrained(model).float().eval()
        self.low = precision == "bf16"

    def warm_up(self, image):
        self.encode(image[:64, :64])

    def encode(self, image):
        import numpy as np
        import torch
        from PIL import Image

        side = self.model.config.vision_config.image_size
        scale = side / max(image.shape[:2])
        h, w = (int(s * scale + 0.5) for s in image.shape[:2])
        self.scale = np.array([w / image.shape[1], h / image.shape[0]])
        pixels = (
            torch.from_numpy(np.array(Image.fromarray(image).resize((w, h), Image.BILINEAR)))
            .float()
            .permute(2, 0, 1)
        )
        mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
        std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
        padded = torch.nn.functional.pad((pixels - mean) / std, (0, side - w, 0, side - h))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            self.features = self.model.get_image_embeddings(padded[None]).float()
        return self.features.numpy()

    def decode(self, points):
        import numpy as np
        import torch

        placed = torch.from_numpy(np.asarray(points, float) * self.scale).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            out = self.model(
                image_embeddings=self.features,
                input_points=placed[None],
                multimask_output=True,
                input_labels=torch.ones(1, *placed.shape[:2], dtype=torch.long),
            )
        return out.pred_masks.float().flatten(0, 2).numpy()
