"""sam2's predictor with its image encoder (Hiera and neck) compiled by OpenVINO, with the latency
hint; bf16 is the inference precision. Only the encoder is measured."""

import torch

from benchmarks.subjects import sam2


class Subject(sam2.Subject):
    def __init__(self, model, threads, precision="fp32"):
        import openvino as ov

        super().__init__(model, threads)  # The parts that stay in torch run in fp32.
        inner, side = self.model.image_encoder, self.model.image_size
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        # The position encoding does not depend on the image.
        position = inner(torch.zeros(1, 3, side, side))["vision_pos_enc"]
        compiled = ov.Core().compile_model(
            ov.convert_model(Features(inner), example_input=torch.zeros(1, 3, side, side)),
            "CPU",
            settings,
        )
        self.model.image_encoder = Compiled(compiled, position)

    decode = click = None


class Features(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, image):
        return tuple(self.encoder(image)["backbone_fpn"])


class Compiled(torch.nn.Module):
    def __init__(self, model, position):
        super().__init__()
        self.model, self.position = model, position

    def forward(self, image):
        out = self.model([image.numpy()])
        features = [torch.from_numpy(out[i].astype("float32")) for i in range(len(self.position))]
        return {
            "vision_features": features[-1],
            "vision_pos_enc": list(self.position),
            "backbone_fpn": features,
        }
