"""One process for each thread, each with segment-anything's generator and torch on one thread."""

from benchmarks.subjects import folder_processes

STATE = {}


def begin(model, options):
    import torch

    from tests.models.sam import to_segment_anything

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    sam = to_segment_anything(model)
    from segment_anything import SamAutomaticMaskGenerator

    STATE["generator"] = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **options)


def one(path):
    import numpy as np
    from PIL import Image

    return len(STATE["generator"].generate(np.asarray(Image.open(path).convert("RGB"))))


class Subject(folder_processes.Subject):
    begin, one = staticmethod(begin), staticmethod(one)
