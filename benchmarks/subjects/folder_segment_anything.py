"""One process for each thread, each with segment-anything's generator and torch on one thread; bf16
is autocast around the networks."""

from benchmarks.subjects import folder_processes

STATE = {}


def begin(model, options, precision):
    from benchmarks.subjects import segment_anything

    sam = segment_anything.Subject(model, 1, precision).model
    from segment_anything import SamAutomaticMaskGenerator

    STATE["generator"] = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **options)


def one(path):
    import numpy as np
    from PIL import Image

    return len(STATE["generator"].generate(np.asarray(Image.open(path).convert("RGB"))))


class Subject(folder_processes.Subject):
    begin, one = staticmethod(begin), staticmethod(one)
