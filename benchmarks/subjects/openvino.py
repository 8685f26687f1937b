"""segment-anything with its two networks compiled by OpenVINO, with the latency hint; bf16 is the
inference precision."""

import torch

from benchmarks.subjects import segment_anything


class Subject(segment_anything.Subject):
    def prepare(self, sam):
        import openvino as ov

        core = ov.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
        }
        grid, dim = sam.prompt_encoder.image_embedding_size[0], sam.prompt_encoder.embed_dim
        side = sam.image_encoder.img_size
        encoder = core.compile_model(
            ov.convert_model(sam.image_encoder, example_input=torch.zeros(1, 3, side, side)),
            "CPU",
            settings,
        )
        example = (
            torch.zeros(1, dim, grid, grid),
            torch.zeros(1, dim, grid, grid),
            torch.zeros(2, 2, dim),
            torch.zeros(2, dim, grid, grid),
        )
        decoder = core.compile_model(
            ov.convert_model(Multimask(sam.mask_decoder), example_input=example), "CPU", settings
        )
        sam.image_encoder = Compiled(encoder, img_size=side)
        sam.mask_decoder = CompiledDecoder(decoder)
        return sam


class Multimask(torch.nn.Module):
    """The mask decoder with positional inputs and three masks a prompt."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, embedding, position, sparse, dense):
        masks, iou = self.decoder.predict_masks(embedding, position, sparse, dense)
        return masks[:, 1:], iou[:, 1:]


class Compiled(torch.nn.Module):
    def __init__(self, model, img_size):
        super().__init__()
        self.model, self.img_size = model, img_size

    def forward(self, x):
        return torch.from_numpy(self.model([x.numpy()])[0].astype("float32"))


class CompiledDecoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(
        self,
        image_embeddings,
        image_pe,
        sparse_prompt_embeddings,
        dense_prompt_embeddings,
        multimask_output,
    ):
        assert multimask_output
        dense = dense_prompt_embeddings.contiguous().numpy()
        out = self.model(
            [image_embeddings.numpy(), image_pe.numpy(), sparse_prompt_embeddings.numpy(), dense]
        )
        return tuple(torch.from_numpy(out[i].astype("float32")) for i in range(2))
