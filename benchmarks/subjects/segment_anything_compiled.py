"""segment-anything with its image encoder compiled by torch.compile; the first image compiles."""

from benchmarks.subjects import segment_anything


class Subject(segment_anything.Subject):
    def prepare(self, sam):
        import torch

        sam = super().prepare(sam)
        sam.image_encoder.forward = torch.compile(sam.image_encoder.forward)
        return sam
