"""The calls of sam2's example notebook for videos in their order, with sam2 and with only the
import line changed."""

import numpy as np
import pytest

from tests.models import sam2_predictor, torchvision_stand_in
from tests.tracking import with_sam2
from tests.tracking.clip import blobs

NOTEBOOK = """
import os
import numpy as np
import torch
from sam2.build_sam import build_sam2_video_predictor

device = torch.device("cpu")
predictor = build_sam2_video_predictor(model_cfg, sam2_checkpoint, device=device)

frame_names = [
    p for p in os.listdir(video_dir)
    if os.path.splitext(p)[-1] in [".jpg", ".jpeg", ".JPG", ".JPEG"]
]
frame_names.sort(key=lambda p: int(os.path.splitext(p)[0]))
inference_state = predictor.init_state(video_path=video_dir)

def shown(ids, logits):
    return {id: (logits[i] > 0.0).cpu().numpy() for i, id in enumerate(ids)}

def propagated():
    video_segments = {}  # the results of each frame
    for out_frame_idx, out_obj_ids, out_mask_logits in predictor.propagate_in_video(
            inference_state):
        video_segments[out_frame_idx] = {
            out_obj_id: (out_mask_logits[i] > 0.0).cpu().numpy()
            for i, out_obj_id in enumerate(out_obj_ids)
        }
    return video_segments

# Example 1: segment and track one object
predictor.reset_state(inference_state)
ann_frame_idx, ann_obj_id = 0, 1
points = np.array([[102, 64]], dtype=np.float32)
labels = np.array([1], np.int32)
_, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
    inference_state=inference_state, frame_idx=ann_frame_idx, obj_id=ann_obj_id,
    points=points, labels=labels)
record(shown(out_obj_ids, out_mask_logits))
points = np.array([[102, 64], [98, 72]], dtype=np.float32)
labels = np.array([1, 1], np.int32)
_, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
    inference_state=inference_state, frame_idx=ann_frame_idx, obj_id=ann_obj_id,
    points=points, labels=labels)
record(shown(out_obj_ids, out_mask_logits))
video_segments = propagated()
for out_frame_idx in range(0, len(frame_names), 2):
    record(video_segments[out_frame_idx])
ann_frame_idx = 5
points = np.array([[60, 60]], dtype=np.float32)
labels = np.array([0], np.int32)
_, _, out_mask_logits = predictor.add_new_points_or_box(
    inference_state=inference_state, frame_idx=ann_frame_idx, obj_id=ann_obj_id,
    points=points, labels=labels)
record(shown([ann_obj_id], out_mask_logits))
record(*propagated().values())

# Example 2: segment an object by a box
predictor.reset_state(inference_state)
ann_frame_idx, ann_obj_id = 0, 4
box = np.array([30, 72, 60, 110], dtype=np.float32)
_, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
    inference_state=inference_state, frame_idx=ann_frame_idx, obj_id=ann_obj_id, box=box)
record(shown(out_obj_ids, out_mask_logits))
points = np.array([[40, 80]], dtype=np.float32)
labels = np.array([0], np.int32)
_, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
    inference_state=inference_state, frame_idx=ann_frame_idx, obj_id=ann_obj_id,
    points=points, labels=labels, box=box)
record(shown(out_obj_ids, out_mask_logits))
record(*propagated().values())

# Example 3: several objects
predictor.reset_state(inference_state)
prompts = {}
for ann_obj_id, points, labels in (
    (2, [[102, 64]], [1]), (2, [[102, 64], [70, 30]], [1, 0]), (3, [[46, 36]], [1])):
    points, labels = np.array(points, dtype=np.float32), np.array(labels, np.int32)
    prompts[ann_obj_id] = points, labels
    _, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
        inference_state=inference_state, frame_idx=0, obj_id=ann_obj_id,
        points=points, labels=labels)
    record(shown(out_obj_ids, out_mask_logits))
record(*propagated().values())
"""


@pytest.fixture
def run(video_originals, tmp_path, monkeypatch):
    """run(script): what a script records. sam2's builder is replaced by one that takes a small
    model's folder as its checkpoint, as segrid's does."""
    torchvision_stand_in.import_sam2()
    builder = sam2_predictor.load(video_originals.folder("sam2.1"))
    monkeypatch.setattr(
        "sam2.build_sam.build_sam2_video_predictor", lambda config, checkpoint, device: builder
    )
    folder = with_sam2.write(blobs(10, 128, 128), tmp_path)

    def execute(script):
        records = []
        names = {
            "record": lambda *shown: records.extend(shown),
            "video_dir": str(folder),
            "sam2_checkpoint": video_originals.folder("sam2.1"),
            "model_cfg": "configs/sam2.1/sam2.1_hiera_t.yaml",
        }
        exec(script, names)
        return records

    return execute


def test_the_video_notebook(run):
    theirs = run(NOTEBOOK)
    mine = run(NOTEBOOK.replace("from sam2.", "from segrid.compat.sam2."))
    assert len(mine) == len(theirs) > 30
    filled = [mask.mean() for shown in theirs for mask in shown.values() if mask.any()]
    assert len(filled) > 20 and np.median(filled) < 0.9, "vacuous"
    for a, b in zip(mine, theirs, strict=True):
        assert list(a) == list(b)
        for id in a:
            assert a[id].shape == b[id].shape and a[id].dtype == b[id].dtype
            wrong, union = (a[id] ^ b[id]).sum(), (a[id] | b[id]).sum()
            assert wrong <= 2 or wrong < 1e-3 * union
