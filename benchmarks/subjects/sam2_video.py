"""sam2's video predictor as its builder makes it; bf16 and fp16 are autocast, as in sam2's
examples. SciPy finds connected components for its filling of holes, which it leaves out without its
CUDA extension; on a GPU nothing takes its place, so that sam2 is not slowed down there."""


class Subject:
    compiled = False

    def __init__(self, model, threads, precision="fp32", device="cpu"):
        import torch

        from tests.models import sam2_predictor

        torch.set_num_threads(threads)
        self.low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self.kind = "cpu" if device == "cpu-plain" else torch.device(device).type
        if self.kind == "cpu":
            sam2_predictor.fills_holes()
        self.predictor = sam2_predictor.load(model, vos_optimized=self.compiled).to(self.kind)

    def autocast(self):
        import torch

        return torch.autocast(self.kind, self.low, enabled=self.low is not None)

    def open(self, frames):
        from tests.tracking import with_sam2

        with self.autocast():
            self.state = with_sam2.opened(self.predictor, frames)

    def add(self, id, box):
        with self.autocast():
            _, _, logits = self.predictor.add_new_points_or_box(self.state, 0, id, box=box)
        return (logits[:, 0] > 0).cpu().numpy()

    def follow(self):
        with self.autocast():
            for _, _, logits in self.predictor.propagate_in_video(self.state):
                yield (logits[:, 0] > 0).cpu().numpy()
