"""sam2's video predictor as its builder makes it; bf16 is autocast, as in sam2's examples. SciPy
finds connected components for its filling of holes, which on CPUs it leaves out."""


class Subject:
    compiled = False

    def __init__(self, model, threads, precision="fp32"):
        import torch

        from tests.models import sam2_predictor

        torch.set_num_threads(threads)
        self.low = precision == "bf16"
        sam2_predictor.fills_holes()
        self.predictor = sam2_predictor.load(model, vos_optimized=self.compiled)

    def autocast(self):
        import torch

        return torch.autocast("cpu", torch.bfloat16, enabled=self.low)

    def open(self, frames):
        from tests.tracking import with_sam2

        with self.autocast():
            self.state = with_sam2.opened(self.predictor, frames)

    def add(self, id, box):
        with self.autocast():
            _, _, logits = self.predictor.add_new_points_or_box(self.state, 0, id, box=box)
        return (logits[:, 0] > 0).numpy()

    def follow(self):
        with self.autocast():
            for _, _, logits in self.predictor.propagate_in_video(self.state):
                yield (logits[:, 0] > 0).numpy()
