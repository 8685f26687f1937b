"""transformers' Sam2VideoModel and its sessions; bf16 is autocast."""


class Subject:
    def __init__(self, model, threads, precision="fp32"):
        import torch
        from transformers import Sam2VideoModel

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.low = precision == "bf16"
        self.model = Sam2VideoModel.from_pretrained(model).float().eval()

    def autocast(self):
        import torch

        return torch.autocast("cpu", torch.bfloat16, enabled=self.low)

    def open(self, frames):
        from tests.tracking import with_transformers

        self.size = frames.shape[1:3]
        self.inputs = with_transformers.processor(self.model.image_size)
        self.session = with_transformers.opened(self.model, frames)

    def add(self, id, box):
        self.inputs.add_inputs_to_inference_session(
            self.session, 0, id, input_boxes=[[box.tolist()]]
        )
        with self.autocast():
            return self.masks(self.model(self.session, frame_idx=0))

    def follow(self):
        with self.autocast():
            for found in self.model.propagate_in_video_iterator(self.session):
                yield self.masks(found)

    def masks(self, found):
        import torch

        logits = torch.nn.functional.interpolate(
            found.pred_masks.float(), self.size, mode="bilinear", align_corners=False
        )
        return (logits[:, 0] > 0).numpy()
