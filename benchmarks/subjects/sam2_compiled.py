"""sam2 with its image encoder compiled by torch.compile, in the default mode: the one that sam2's
`compile_image_encoder` asks for tries variants for minutes. The first image compiles."""

from benchmarks.subjects import sam2


class Subject(sam2.Subject):
    def __init__(self, model, threads, precision="fp32", device="cpu"):
        import torch

        super().__init__(model, threads, precision, device)
        encoder = self.model.image_encoder
        encoder.forward = torch.compile(encoder.forward)
