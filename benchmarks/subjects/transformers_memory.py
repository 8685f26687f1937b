"""transformers' memory of video (Sam2VideoModel); bf16 is autocast."""


class Subject:
    def __init__(self, model, threads, precision="fp32"):
        import torch
        from transformers import Sam2VideoModel

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = Sam2VideoModel.from_pretrained(model).float().eval()
        self.low = precision == "bf16"

    def attend(self, image, frames, pointers):
        import torch

        from tests.reference import video_memory

        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            return video_memory.attended(
                self.model,
                torch.from_numpy(image),
                [(torch.from_numpy(f), age) for f, age in frames],
                [(torch.from_numpy(p), age) for p, age in pointers],
                len(pointers),
            )

    def encode(self, image, mask):
        import torch

        from tests.reference import video_memory

        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            return video_memory.remembered(
                self.model, torch.from_numpy(image), torch.from_numpy(mask)
            )

    def seconds(self, image, frames, pointers, mask, repeat):
        """Median seconds of memory attention as a whole, and of the memory encoder."""
        from benchmarks.row import timed

        return {
            "look": 0.0,
            "attend": timed(repeat, lambda: self.attend(image, frames, pointers))[0],
            "encode": timed(repeat, lambda: self.encode(image, mask))[0],
        }

    def results(self, image, frames, pointers, mask):
        """The attended image features and what is remembered of the mask."""
        return self.attend(image, frames, pointers).float().numpy(), self.encode(
            image, mask
        ).numpy()
