"""Carries out steps with the Sam2VideoModel of transformers, or of segrid, and its sessions; they
lack some calls."""

from types import SimpleNamespace

import torch
from transformers import Sam2VideoInferenceSession, Sam2VideoProcessor
from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession

from tests.tracking.clip import pixels
from tests.tracking.steps import Add, Propagate, Reset, Shown


def processor(side):
    """transformers' processor without its readers of images and videos, which need torchvision."""
    bare = object.__new__(Sam2VideoProcessor)
    bare.target_size, bare.point_pad_value = side, -10
    bare.image_processor = bare.video_processor = SimpleNamespace()
    return bare


def opened(model, frames):
    edgetam = model.config.model_type == "edgetam_video"
    session = EdgeTamVideoInferenceSession if edgetam else Sam2VideoInferenceSession
    return session(
        video=pixels(frames, model.config.image_size),
        video_height=frames.shape[1],
        video_width=frames.shape[2],
        dtype=torch.float32,
    )


def carry_out(model, frames, steps):
    """Yields what every step shows."""
    return _carried_out(model, opened(model, frames), processor(model.config.image_size), steps)


def carry_out_with_segrid(model, inputs, frames, steps):
    """The same with the model and the processor of segrid.compat.transformers."""
    return _carried_out(model, inputs.init_video_session(video=list(frames)), inputs, steps)


def _carried_out(model, session, inputs, steps):
    size = session.video_height, session.video_width
    for number, step in enumerate(steps):
        match step:
            case Add():
                given = {}
                if step.mask is not None:
                    given["input_masks"] = step.mask.drawn(size[1], size[0])
                if step.points:
                    given["input_points"] = [[[list(p) for p in step.points]]]
                    given["input_labels"] = [[list(step.signs())]]
                if step.box is not None:
                    given["input_boxes"] = [[list(step.box)]]
                inputs.add_inputs_to_inference_session(
                    session,
                    step.frame,
                    step.id,
                    clear_old_inputs=step.replace or step.box is not None,
                    **given,
                )
                with torch.no_grad():
                    yield _shown(number, size, model(session, frame_idx=step.frame))
            case Propagate():
                for found in model.propagate_in_video_iterator(
                    session, step.start, step.frames, reverse=step.direction == "backward"
                ):
                    yield _shown(number, size, found)
            case Reset():
                session.reset_tracking_data()
            case _:
                raise NotImplementedError(f"transformers' sessions have no call for {step}")


def _shown(number, size, found):
    low_res = found.pred_masks.float()
    logits = torch.nn.functional.interpolate(low_res, size, mode="bilinear", align_corners=False)
    return Shown(
        number,
        found.frame_idx,
        found.object_ids,
        logits[:, 0].numpy(),
        found.object_score_logits.reshape(-1).numpy(),
        low_res[:, 0].numpy(),
    )
