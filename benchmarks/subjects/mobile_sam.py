"""MobileSAM's weights in segment-anything's generator, as in MobileSAM's own package. The image
encoder is the plain TinyViT of tests/reference."""

from benchmarks.subjects import segment_anything


class Subject(segment_anything.Subject):
    def __init__(self, model, threads, precision="fp32"):
        super().__init__(random_sam_of(), threads, precision)

    def prepare(self, sam):
        from tests.models.mobile_sam import encoder

        network = encoder("mobile_sam")
        size = sam.image_encoder.img_size
        sam.image_encoder = Encoder(network, size)
        return super().prepare(sam)


def random_sam_of():
    """The folder of the random SAM whose prompt encoder and decoder the random MobileSAM has."""
    import tempfile
    from pathlib import Path

    from tests import models

    return str(models.sam.make("vit_b", Path(tempfile.gettempdir()) / "segrid-vit_b"))


def Encoder(network, size):
    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.img_size = network, size

        def forward(self, x):
            return self.network(x)["neck"]

    return Wrapped()
