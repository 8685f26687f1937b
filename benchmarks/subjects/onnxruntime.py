"""segment-anything with its two networks exported to ONNX and run by onnxruntime in fp32; the CPU
provider has no bf16."""

import torch

from benchmarks.subjects import segment_anything
from benchmarks.subjects.openvino import Multimask


class Subject(segment_anything.Subject):
    def prepare(self, sam):
        import tempfile
        from pathlib import Path

        if self.precision != "fp32":
            raise NotImplementedError("onnxruntime: its CPU provider has fp32 only")
        grid, dim = sam.prompt_encoder.image_embedding_size[0], sam.prompt_encoder.embed_dim
        side = sam.image_encoder.img_size
        example = (
            torch.zeros(1, dim, grid, grid),
            torch.zeros(1, dim, grid, grid),
            torch.zeros(2, 2, dim),
            torch.zeros(2, dim, grid, grid),
        )
        with tempfile.TemporaryDirectory() as folder:
            encoder = self.session(
                sam.image_encoder,
                (torch.zeros(1, 3, side, side),),
                ["x"],
                {},
                Path(folder) / "encoder.onnx",
            )
            names = ["embedding", "position", "sparse", "dense"]
            decoder = self.session(
                Multimask(sam.mask_decoder),
                example,
                names,
                {"sparse": {0: "prompts"}, "dense": {0: "prompts"}},
                Path(folder) / "decoder.onnx",
            )
        sam.image_encoder = Run(encoder, ["x"], side)
        sam.mask_decoder = RunDecoder(decoder, names, side)
        return sam

    def session(self, module, example, names, dynamic, path):
        import onnxruntime

        torch.onnx.export(
            module,
            example,
            str(path),
            input_names=names,
            dynamic_axes=dynamic,
            opset_version=17,
            dynamo=False,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Run(torch.nn.Module):
    def __init__(self, session, names, img_size):
        super().__init__()
        self.session, self.names, self.img_size = session, names, img_size

    def run(self, *inputs):
        feed = {n: x.contiguous().numpy() for n, x in zip(self.names, inputs, strict=True)}
        return tuple(torch.from_numpy(o) for o in self.session.run(None, feed))

    def forward(self, x):
        return self.run(x)[0]


class RunDecoder(Run):
    def forward(
        self,
        image_embeddings,
        image_pe,
        sparse_prompt_embeddings,
        dense_prompt_embeddings,
        multimask_output,
    ):
        assert multimask_output
        return self.run(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        )
