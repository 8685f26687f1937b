"""Scenarios: what people do with a session, as steps. Coordinates are of `clip.blobs`."""

from tests.tracking.steps import Add, Clear, Ellipse, Propagate, Remove, Reset, Scenario

# What models.sam2.make_video("clip", ...) takes: settings of Sam2VideoConfig, and a seed.
MODELS = {
    "sam2.1": {},
    "sam2": dict(
        enable_occlusion_spatial_embedding=False,
        enable_temporal_pos_encoding_for_object_pointers=False,
    ),
    "short memory": dict(
        num_maskmem=3, max_object_pointers_in_encoder=4, max_cond_frame_num=2, seed=2
    ),
}
CLICK, OTHER, THIRD = ((102, 64),), ((45, 91),), ((46, 36),)
AS_TRANSFORMERS = {"fill_hole_area": 0}

SCENARIOS = (
    # Long runs.
    Scenario(
        "one click, followed for 30 frames",
        (Add(1, points=CLICK), Propagate()),
        frames=31,
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    Scenario(
        "three objects, followed for 30 frames",
        (Add(1, points=CLICK), Add(7, box=(30, 72, 60, 110)), Add(3, points=THIRD), Propagate()),
        frames=31,
    ),
    Scenario(
        "SAM 2, followed for 30 frames",
        (Add(1, points=CLICK), Add(2, points=OTHER), Propagate()),
        model="sam2",
        frames=31,
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    # Prompts.
    Scenario(
        "a box",
        (Add(1, box=(84, 46, 120, 82)), Propagate(frames=4)),
        as_transformers=True,
        settings=AS_TRANSFORMERS,
    ),
    Scenario(
        "a box and a click",
        (Add(1, points=((100, 60), (70, 64)), labels=(1, 0), box=(84, 46, 120, 82)), Propagate()),
        frames=6,
    ),
    Scenario("a mask", (Add(1, mask=Ellipse(102, 64, 15, 19)), Propagate()), frames=9),
    Scenario("an empty mask", (Add(1, mask=Ellipse(-50, -50, 5, 5)), Propagate()), frames=4),
    Scenario(
        "points outside the frame",
        (
            Add(1, points=((102, 64), (140, 70), (60, -9)), labels=(1, 1, 0)),
            Add(2, points=((-30, 91),)),
            Propagate(frames=4),
        ),
    ),
    Scenario(
        "a box that reaches beyond the frame",
        (Add(1, box=(84, 46, 171, 82)), Propagate(frames=4)),
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    Scenario(
        "a box with its corners reversed",
        (Add(1, box=(120, 82, 84, 46), points=((-5, 300),), labels=(0,)), Propagate(frames=4)),
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    Scenario(
        "masks of other sizes than the video",
        (
            Add(1, mask=Ellipse(33, 19, 8, 6, size=(61, 37))),
            Add(2, mask=Ellipse(64, 64, 20, 25, size=(128, 128))),  # the size of the model's square
            Add(3, mask=Ellipse(300, 90, 60, 70, size=(413, 250))),
            Propagate(frames=4),
        ),
        size=(190, 96),
    ),
    Scenario(
        "a mask of a pixel, which the model's square does not show",
        (Add(1, mask=Ellipse(150, 130, 0.8, 0.8)), Add(2, points=((200, 150),)), Propagate()),
        size=(310, 260),
        frames=4,
    ),
    Scenario(
        "refined on the first frame",
        (
            Add(1, points=CLICK),
            Add(1, points=((70, 30),), labels=(0,)),
            Add(1, points=((98, 72),)),
            Propagate(),
        ),
        frames=8,
    ),
    Scenario(
        "clicks replaced",
        (Add(1, points=CLICK), Add(1, points=THIRD, replace=True), Propagate(frames=3)),
    ),
    Scenario(
        "a mask, then clicks in its place",
        (
            Add(1, mask=Ellipse(102, 64, 15, 19)),
            Add(1, points=CLICK),
            Propagate(frames=3),
        ),
    ),
    # Directions.
    Scenario(
        "backward from the middle",
        (Add(1, frame=6, points=CLICK), Propagate("backward")),
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    Scenario(
        "both ways",
        (Add(1, frame=6, points=CLICK), Propagate(), Propagate("backward")),
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    Scenario(
        "backward from the first frame",
        (Add(1, points=CLICK), Propagate("backward"), Propagate(frames=2)),
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    Scenario(
        "in pieces",
        (
            Add(1, points=CLICK),
            Propagate(frames=3),
            Propagate(start=4, frames=3),
            Propagate("backward", start=7, frames=2),
            Propagate(start=6),
        ),
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    # Objects that join and leave.
    Scenario(
        "an object joins before tracking, on a later frame",
        (Add(1, points=CLICK), Add(2, frame=5, points=OTHER), Propagate()),
    ),
    Scenario(
        "an object joins while others are tracked",
        (
            Add(1, points=CLICK),
            Propagate(frames=5),
            Add(2, frame=5, points=OTHER),
            Propagate(start=5, frames=4),
        ),
    ),
    Scenario(
        "an object leaves",
        (
            Add(4, points=CLICK),
            Add(2, points=OTHER),
            Propagate(frames=4),
            Remove(4),
            Propagate(start=4, frames=3),
            Add(4, frame=6, points=THIRD),
            Propagate(start=6),
        ),
    ),
    Scenario(
        "the last object leaves, another one comes",
        (Add(1, points=CLICK), Propagate(frames=2), Remove(1), Add(2, points=OTHER), Propagate()),
        frames=5,
    ),
    Scenario(
        "reset",
        (
            Add(1, points=CLICK),
            Propagate(frames=4),
            Reset(),
            Add(1, frame=2, points=THIRD),
            Propagate(frames=4),
        ),
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    # Corrections and conditioning frames.
    Scenario(
        "a tracked frame is corrected",
        (
            Add(1, points=CLICK),
            Propagate(frames=6),
            Add(1, frame=4, points=((60, 60),)),
            Add(1, frame=4, points=((90, 30),), labels=(0,)),
            Propagate(start=4, frames=5),
        ),
    ),
    Scenario(
        "a corrected frame conditions",
        (
            Add(1, points=CLICK),
            Propagate(frames=6),
            Add(1, frame=4, points=((60, 60),)),
            Propagate(start=3, frames=5),
        ),
        settings={"add_all_frames_to_correct_as_cond": True},
    ),
    Scenario(
        "a frame that was tracked backward is corrected",
        (
            Add(1, frame=7, points=CLICK),
            Propagate("backward", frames=5),
            Add(1, frame=4, points=((60, 60),)),
            Propagate("backward", start=4),
        ),
    ),
    Scenario(
        "a tracked frame is corrected by a mask",
        (
            Add(1, points=CLICK),
            Propagate(frames=5),
            Add(1, frame=3, mask=Ellipse(60, 60, 20, 24)),
            Propagate(start=3, frames=4),
        ),
    ),
    Scenario(
        "the first frame is corrected after tracking",
        (
            Add(1, points=CLICK),
            Propagate(frames=3),
            Add(1, points=((60, 60),)),
            Propagate(frames=4),
        ),
    ),
    Scenario(
        "prompts on three frames",
        (
            Add(1, points=CLICK),
            Add(1, frame=4, points=((60, 60),)),
            Add(1, frame=9, points=((30, 70),)),
            Propagate(),
        ),
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    Scenario(
        "prompts on more frames than are looked at",
        tuple(Add(1, frame=f, points=((90 - 8 * f, 64),)) for f in (0, 3, 5, 8, 11))
        + (Propagate(), Propagate("backward", start=10)),
        model="short memory",
    ),
    Scenario(
        "a prompt is cleared",
        (
            Add(1, points=CLICK),
            Add(1, frame=5, points=((60, 60),)),
            Propagate(frames=7),
            Clear(1, 5),
            Propagate(start=3, frames=5),
        ),
    ),
    Scenario(
        "a prompt is cleared before tracking",
        (
            Add(1, points=CLICK),
            Add(1, frame=3, points=OTHER),
            Add(2, frame=3, points=THIRD),
            Clear(1, 3),
            Propagate(frames=5),
        ),
    ),
    # Settings and shapes.
    # Few frames: random weights follow all objects to nearly the same logits, and the larger one
    # takes the pixel.
    Scenario(
        "without overlap",
        (
            Add(1, points=CLICK),
            Add(2, mask=Ellipse(97, 70, 17, 13)),
            Add(3, points=OTHER),
            Add(4, mask=Ellipse(105, 62, 15, 19)),
            Propagate(frames=1),
        ),
        settings={"non_overlap_masks": True},
    ),
    Scenario(
        "short memory",
        (Add(1, points=CLICK), Propagate()),
        model="short memory",
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
    Scenario(
        "every second frame is remembered",
        (Add(1, points=CLICK), Propagate(), Propagate("backward", start=9)),
        frames=14,
        settings={"memory_temporal_stride_for_eval": 2},
    ),
    Scenario(
        "a wide video",
        (Add(1, points=((150, 48),)), Add(2, mask=Ellipse(70.3, 60.8, 24, 14.4)), Propagate()),
        size=(190, 96),
        frames=7,
    ),
    Scenario(
        "a tall video of odd size",
        (Add(1, points=((60, 101),)), Add(2, box=(20, 100, 55, 160)), Propagate()),
        size=(77, 203),
        frames=6,
        settings=AS_TRANSFORMERS,
        as_transformers=True,
    ),
)


def named(name):
    """The scenario of this name."""
    return next(s for s in SCENARIOS if s.name == name)
