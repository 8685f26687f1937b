"""segrid's memory of video, by the test hooks."""

from pathlib import Path


class Subject:
    def __init__(self, model, threads, precision="fp32"):
        import segrid

        from tests.building_blocks import kernels

        segrid.set_threads(threads)
        folder = Path(model)
        self.memory = kernels.Memory(
            str(folder / "config.json"), str(folder / "model.safetensors"), "cpu", precision
        )

    def seconds(self, image, frames, pointers, mask, repeat):
        """Median seconds of what all objects of a frame share, of memory attention without it, and
        of the memory encoder."""
        found = self.memory.seconds(image, frames, pointers, mask, repeat)
        return dict(zip(("look", "attend", "encode"), found, strict=True))

    def results(self, image, frames, pointers, mask):
        """The attended image features and what is remembered of the mask."""
        return (
            self.memory.attend(image, frames, pointers),
            self.memory.encode(image, mask, False, True),
        )
