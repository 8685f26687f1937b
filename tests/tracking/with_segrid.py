"""Carries out steps with segrid's session."""

import numpy as np

from tests.tracking.steps import Add, Clear, Propagate, Remove, Reset, Shown

# sam2's names of settings: ours.
OPTIONS = {
    "fill_hole_area": "max_hole_area",
    "non_overlap_masks": "non_overlap",
    "add_all_frames_to_correct_as_cond": "corrections_condition",
    "memory_temporal_stride_for_eval": "memory_stride",
}


def carry_out(tracker, frames, steps, settings=None):
    """Yields what every step shows. Instead of logits of the video's size there are masks: 1 inside
    and -1 outside.

    settings : with sam2's names"""
    options = {OPTIONS[name]: value for name, value in (settings or {}).items()}
    with tracker.open(list(frames), long_side=None, **options) as session:
        for number, step in enumerate(steps):
            match step:
                case Add():
                    found = session.add(
                        step.id,
                        step.frame,
                        points=list(step.points) or None,
                        labels=step.signs() if step.points else None,
                        boxes=step.box,
                        mask=None if step.mask is None else step.mask.drawn(*frames.shape[2:0:-1]),
                        replace=step.replace or step.box is not None,
                        anywhere=True,
                    )
                    yield _shown(number, step.frame, session.ids, found)
                case Propagate():
                    for shown in session.propagate(
                        step.direction, start=step.start, frames=step.frames
                    ):
                        yield _shown(number, shown.index, shown.ids, shown.masks)
                case Clear():
                    session.clear(step.id, step.frame)
                case Remove():
                    session.remove(step.id)
                case Reset():
                    session.reset()


def _shown(number, frame, ids, masks):
    return Shown(
        number,
        frame,
        list(ids),
        np.where(masks.array, np.float32(1), np.float32(-1)),
        np.array(masks.object_scores),
        np.array(masks.low_res),
    )
