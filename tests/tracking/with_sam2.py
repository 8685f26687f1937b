"""Carries out steps with sam2's own video predictor, and with segrid's of the same calls."""

from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from tests.tracking.clip import pixels
from tests.tracking.steps import Add, Clear, Propagate, Remove, Reset, Shown


def opened(predictor, frames):
    """An inference state of (T, H, W, 3) uint8 frames. The state reads no files."""
    video = pixels(frames, predictor.image_size), *frames.shape[1:3]
    with mock.patch("sam2.sam2_video_predictor.load_video_frames", lambda **_: video):
        return predictor.init_state(video_path="")


def carry_out(predictor, frames, steps):
    """Yields what every step shows."""
    return _carried_out(predictor, opened(predictor, frames), steps, _shown)


def carry_out_from_files(predictor, folder, steps):
    """The same on a folder of files, read by the predictor itself."""
    return _carried_out(predictor, predictor.init_state(str(folder)), steps, _shown)


def carry_out_with_segrid(predictor, folder, steps):
    """The same with the predictor of segrid.compat.sam2."""
    return _carried_out(predictor, predictor.init_state(str(folder)), steps, _shown_by_segrid)


def write(frames, folder):
    """Writes frames as sam2 reads them, without loss: as PNG, under the names of JPEG files."""
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(Path(folder) / f"{number}.jpg", format="PNG")
    return folder


def _carried_out(predictor, state, steps, shown_of):
    height, width = state["video_height"], state["video_width"]
    for number, step in enumerate(steps):
        match step:
            case Add(mask=None):
                shown = predictor.add_new_points_or_box(
                    state,
                    step.frame,
                    step.id,
                    points=np.array(step.points, np.float32) if step.points else None,
                    labels=np.array(step.signs(), np.int32) if step.points else None,
                    box=step.box,
                    clear_old_points=step.replace or step.box is not None,
                )
                yield shown_of(state, number, *shown)
            case Add():
                mask = step.mask.drawn(width, height)
                yield shown_of(
                    state, number, *predictor.add_new_mask(state, step.frame, step.id, mask)
                )
            case Propagate():
                for shown in predictor.propagate_in_video(
                    state, step.start, step.frames, reverse=step.direction == "backward"
                ):
                    yield shown_of(state, number, *shown)
            case Clear():
                predictor.clear_all_prompts_in_frame(state, step.frame, step.id)
            case Remove():
                predictor.remove_object(state, step.id)
            case Reset():
                predictor.reset_state(state)


def _shown(state, number, frame, ids, logits):
    outputs = [_output(state, place, frame) for place in range(len(ids))]
    side = state["images"].shape[-1] // 4
    nothing = {
        "object_score_logits": torch.full((1, 1), torch.nan),
        "pred_masks": torch.zeros(1, 1, side, side),
    }
    outputs = [nothing if output is None else output for output in outputs]
    return Shown(
        number,
        frame,
        list(ids),
        logits[:, 0].numpy().copy(),
        torch.cat([output["object_score_logits"][0] for output in outputs]).numpy(),
        torch.cat([output["pred_masks"][0] for output in outputs]).numpy(),
    )


def _output(state, place, frame):
    """The latest result of an object on a frame; None without one."""
    for results in ("temp_output_dict_per_obj", "output_dict_per_obj"):
        for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
            if frame in (found := state[results][place][kind]):
                return found[frame]
    return None


def _shown_by_segrid(state, number, frame, ids, logits):
    found = state["session"].frame(frame)
    places = [found.ids.index(id) for id in ids]
    return Shown(
        number, frame, list(ids), logits[:, 0].numpy(), found.scores[places], found.low_res[places]
    )
