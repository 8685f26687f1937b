"""Bodies and answers of the video service, with its names and its defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Png = Annotated[str, Field(description="Base64 of an 8-bit gray PNG, 255 where the object is.")]
FrameNumber = Annotated[int, Field(ge=0, description="A frame, counted from 0.")]
Status = Literal["pending", "running", "completed", "failed"]
ModelSize = Literal["tiny", "small", "base_plus", "large"]


class Body(BaseModel):
    """The JSON of a request. Fields that are not known are ignored, as the service does."""

    # "model_size" would collide with a prefix that pydantic keeps for itself
    model_config = ConfigDict(protected_namespaces=(), allow_inf_nan=False)


class Initialize(Body):
    """Opens a video. `model_size` is accepted and changes nothing, as there: the server's
    SAM2_MODEL_SIZE decides."""

    video_path: str = Field(min_length=1, max_length=4096, description="A path of the server.")
    model_size: ModelSize | None = None


class InSession(Body):
    """What belongs to a session."""

    session_id: str = Field(max_length=128)


class Close(InSession):
    """Closes a session."""


class InFrame(InSession):
    """What belongs to a frame of a session."""

    frame_idx: FrameNumber


class Prompt(InFrame):
    """A prompt of an object."""

    object_id: int = Field(ge=0, lt=2**31)


class Clicks(Prompt):
    """Points of an object, each with its label."""

    points: list[Point] = Field(min_length=1, max_length=1024, description="[x, y] in pixels.")
    labels: list[Literal[0, 1]] = Field(
        max_length=1024, description="1: on the object, 0: beside it."
    )

    @model_validator(mode="after")
    def _as_many(self) -> Clicks:
        if len(self.points) != len(self.labels):
            raise ValueError(
                f"labels: expected one for each of {len(self.points)} points, got "
                f"{len(self.labels)}"
            )
        return self


class Named(Body):
    """The name and the category of a new object."""

    name: str | None = Field(
        default="", max_length=200, description='Empty: "Object " and its number.'
    )
    category: str | None = Field(default="", max_length=200)


class AddObject(Clicks, Named):
    """A new object, by points."""


class AddObjectBox(Prompt, Named):
    """A new object, by a box."""

    box: list[float] = Field(min_length=4, max_length=4, description="[x1, y1, x2, y2] in pixels.")


class Refine(Clicks):
    """More points of an object."""


class UpdateMask(Prompt):
    """A mask in place of the object's."""

    mask: Png


class Propagate(InSession):
    """Follows the objects through frames `start_frame` to `end_frame` (both included; missing: the
    first, the last one)."""

    start_frame: FrameNumber | None = None
    end_frame: FrameNumber | None = None
    direction: Literal["forward", "backward", "both"] | None = "both"


class FrameMasks(InFrame):
    """Asks for the masks of a frame."""


class Health(Body):
    """The state of the service."""

    message: str
    status: Literal["healthy", "unhealthy"]
    model_loaded: bool
    timestamp: float = Field(description="Seconds since 1970.")
    active_sessions: int


class Initialized(Body):
    """A video that is open. Width and height are those of points and masks: the video's, reduced to
    MAX_FRAME_DIMENSION."""

    session_id: str
    video_path: str
    total_frames: int = Field(description="At most MAX_VIDEO_FRAMES.")
    frame_width: int
    frame_height: int
    fps: float


class ObjectOfSession(Body):
    """An object of a session."""

    object_id: int
    name: str
    category: str
    color: list[int] = Field(description="[red, green, blue], 0 to 255.")
    frames_with_masks: int = Field(description="The number of frames.")


class SessionStatus(Body):
    """A session."""

    session_id: str
    video_path: str
    total_frames: int
    objects: list[ObjectOfSession]
    created_at: float = Field(description="Seconds since 1970.")
    last_accessed: float = Field(description="Seconds since 1970.")
    idle_time: float = Field(description="Seconds.")


class Closed(Body):
    """A session that was closed."""

    message: str
    session_id: str


class Message(Body):
    """What was done."""

    message: str


class MaskOfObject(Body):
    """The mask of an object in a frame."""

    object_id: int
    frame_idx: int
    mask: Png


class AddedObject(MaskOfObject):
    """A new object with its mask."""

    name: str
    category: str
    color: list[int]


class MasksOfFrame(Body):
    """The masks of a frame, by the number of the object."""

    frame_idx: int
    masks: dict[int, Png]


class Propagated(Body):
    """All masks, as the first form of the service answered."""

    session_id: str
    total_frames: int
    frames: list[MasksOfFrame]


class JobAccepted(Body):
    """A job that was taken on."""

    job_id: str
    status: Status
    message: str


class JobResult(Body):
    """What a job has done."""

    session_id: str
    total_frames: int
    object_ids: list[int]


class JobStatus(Body):
    """The state of a job. Times are ISO 8601."""

    job_id: str
    job_type: str
    status: Status
    progress: float = Field(description="0 to 100.")
    created_at: str
    started_at: str | None
    completed_at: str | None
    result: JobResult | None
    error: str | None
