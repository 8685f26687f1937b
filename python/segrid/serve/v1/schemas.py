"""What the interface takes and gives, as the OpenAPI document describes it."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, model_validator

from segrid._types import JsonObject

MOST_POINTS = 1000
MOST_BOXES = 256
MOST_PROMPTS = 64
LONGEST_TEXT = 1000

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2, examples=[[320.0, 240.0]])]
Box = Annotated[list[Number], Field(min_length=4, max_length=4, examples=[[10.0, 10, 200, 160]])]
Label = Literal[0, 1]
Points = Annotated[list[Point], Field(min_length=1, max_length=MOST_POINTS)]
Labels = Annotated[list[Label], Field(min_length=1, max_length=MOST_POINTS)]
Frame = Annotated[int, Field(ge=0, le=2**31 - 1)]
ObjectId = Annotated[int, Field(ge=0, le=2**31 - 1)]
Color = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]
MaskForm = Literal["rle", "png", "polygons"]
MasksForm = Literal["rle", "png", "polygons", "label_map"]


class Body(BaseModel):
    """A body that a caller sends: unknown fields are errors. The first one is told at once, because
    an error for each of a million would fill the memory."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _first_unknown(cls, given: object) -> object:
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(f"unknown field {name!r:.60}")
        return given


class Rle(BaseModel):
    """COCO's run lengths: compressed text, or numbers that begin with zeros."""

    size: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
    counts: Union[str, Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True)]]


Ring = list[list[int]]
MaskIn = Union[Rle, Annotated[str, Field(description="PNG in base64; above 0 is the object")]]
MaskOut = Union[
    Rle,
    Annotated[str, Field(description="format=png: 8-bit gray PNG in base64, 255 is the object")],
    Annotated[list[Ring], Field(description="format=polygons: rings of corners, even-odd rule")],
]


class ErrorFacts(BaseModel):
    """What went wrong. More fields name what it was about."""

    model_config = ConfigDict(extra="allow")
    kind: str
    message: str
    setting: Annotated[str, Field(description="the setting that causes it")] = ""


class ErrorAnswer(BaseModel):
    """The answer of every error."""

    error: ErrorFacts


def errors(*statuses: int) -> dict[int | str, JsonObject]:
    """The errors of a call for the OpenAPI document, with those that every call may have."""
    everywhere = (400, 401, 404, 408, 413, 422, 429, 500, 503)
    return {status: {"model": ErrorAnswer} for status in sorted({*everywhere, *statuses})}


class ImageAnswer(BaseModel):
    image_id: str
    width: int
    height: int
    model: str


class PredictBody(Body):
    """Points are one prompt of several points, each box is a prompt. Points and a hint go together
    with one box at most. Coordinates are pixels of the image."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"points": [[320, 240]], "labels": [1]}]}
    )
    points: Points | None = None
    labels: Annotated[Labels | None, Field(description="1 in the object, 0 not; default: 1")] = None
    boxes: Annotated[
        Annotated[list[Box], Field(min_length=1, max_length=MOST_BOXES)] | None,
        Field(description="XYXY"),
    ] = None
    hint: Annotated[MaskIn | None, Field(description="a mask of the image's size")] = None
    multimask: bool = False
    format: MasksForm = "rle"


class ImageMask(BaseModel):
    mask: Annotated[MaskOut | None, Field(description="null where the format is label_map")]
    score: Annotated[float, Field(description="predicted IoU")]
    stability: float | None
    area: Annotated[int, Field(description="pixels")]
    box: Annotated[list[float], Field(description="XYXY, inclusive maximum")]
    prompt: Annotated[int, Field(description="the index of its prompt")]


class MasksAnswer(BaseModel):
    masks: list[ImageMask]
    label_map: Annotated[
        str | None,
        Field(description="format=label_map: PNG in base64; i + 1 is mask i, smaller ones on top"),
    ] = None


class EverythingBody(Body):
    """The options of `Segmenter.everything`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"points_per_side": 32}]})
    points_per_side: Annotated[int, Field(ge=1)] | None = None
    target_points: Annotated[int, Field(ge=1)] | None = None
    pred_iou_thresh: Share | None = None
    stability_score_thresh: Share | None = None
    stability_score_offset: Annotated[Number, Field(ge=0)] | None = None
    mask_threshold: Number | None = None
    box_nms_thresh: Share | None = None
    crop_n_layers: Annotated[int, Field(ge=0)] | None = None
    crop_nms_thresh: Share | None = None
    crop_overlap_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    crop_n_points_downscale_factor: Annotated[int, Field(ge=1, le=64)] | None = None
    min_mask_region_area: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    region_connectivity: Literal[4, 8] | None = None
    multimask: bool | None = None
    use_m2m: bool | None = None
    max_hole_area: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    max_sprinkle_area: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    min_area_frac: Share | None = None
    mask_iou_thresh: Share | None = None
    containment_thresh: Share | None = None
    crop_containment_thresh: Share | None = None
    max_masks: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    format: MasksForm = "rle"
    wait: Annotated[bool, Field(description="false: a job, whose result are the masks")] = True


class DetectBody(Body):
    prompts: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]],
        Field(min_length=1, max_length=MOST_PROMPTS, examples=[["a red circle"]]),
    ]
    threshold: Share = 0.1
    nms: Share | None = None
    masks: Annotated[bool, Field(description="also a mask for each box")] = True
    model: Annotated[Text | None, Field(description="a detector")] = None
    format: MaskForm = "rle"


class DetectionAnswer(BaseModel):
    label: str
    class_id: Annotated[int, Field(description="the index of the prompt")]
    score: float
    box: Annotated[list[float], Field(description="XYXY")]
    mask: MaskOut | None = None


class DetectionsAnswer(BaseModel):
    detections: list[DetectionAnswer]


class OpenBody(Body):
    """A video below the service's media root."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "clip.mp4"}]})
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    model: Text | None = None
    image_side: Annotated[int, Field(ge=1)] | None = None


class ObjectAnswer(BaseModel):
    object_id: int
    name: str | None
    category: Union[str, int, None]
    color: Annotated[list[int], Field(description="R, G, B from 0 to 255")]
    frames_with_masks: list[int]
    prompted_frames: list[int]


class SessionAnswer(BaseModel):
    session_id: str
    frames: Annotated[int | None, Field(description="null where the video does not tell")]
    width: int
    height: int
    rate: Annotated[float | None, Field(description="frames per second")]
    model: str
    objects: list[ObjectAnswer]
    created_at: Annotated[float, Field(description="seconds since 1970")]
    last_used: float
    idle_s: float
    job_id: Annotated[str | None, Field(description="the job that uses the session")]


class AddBody(Body):
    """An object's prompt in a frame: points, a box, both, or a mask. A second call refines it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"object_id": 1, "frame": 0, "points": [[320, 240]], "labels": [1]}]
        }
    )
    object_id: ObjectId
    frame: Frame = 0
    points: Points | None = None
    labels: Labels | None = None
    box: Box | None = None
    mask: MaskIn | None = None
    name: Text | None = None
    category: Union[Text, Annotated[int, Field(ge=0, le=2**31 - 1)], None] = None
    replace: Annotated[bool, Field(description="earlier clicks in the frame go")] = False
    format: MaskForm = "rle"


class MaskFacts(BaseModel):
    mask: Annotated[MaskOut | None, Field(description="null where the format is label_map")]
    score: Annotated[float, Field(description="a logit: above 0 the object is in the frame")]
    area: int
    box: Annotated[list[float], Field(description="XYXY, inclusive maximum")]


class AddAnswer(MaskFacts):
    object_id: int
    name: str | None
    category: Union[str, int, None]
    color: list[int]
    frame: int


class ChangeBody(Body):
    name: Text | None = None
    category: Union[Text, Annotated[int, Field(ge=0, le=2**31 - 1)], None] = None
    color: Color | None = None


class PropagateBody(Body):
    direction: Literal["forward", "backward", "both"] = "forward"
    start: Annotated[Frame | None, Field(description="default: the earliest prompted frame")] = None
    frames: Annotated[Frame | None, Field(description="how many after the first")] = None


class FrameMasksAnswer(BaseModel):
    frame: int
    masks: Annotated[dict[str, MaskFacts], Field(description="by object")]
    label_map: Annotated[
        str | None, Field(description="format=label_map: PNG in base64, pixels are objects")
    ] = None


class JobStarted(BaseModel):
    job_id: str
    status: Literal["pending", "running", "completed", "failed", "cancelled"]


class JobAnswer(JobStarted):
    kind: str
    session_id: str | None
    progress: Annotated[float, Field(description="0 to 100")]
    done: Annotated[int, Field(description="frames, or points of everything")]
    total: int | None
    rate: Annotated[float | None, Field(description="done per second")]
    eta_s: float | None
    created_at: float
    started_at: float | None
    completed_at: float | None
    result: JsonObject | None
    error: ErrorFacts | None


class ModelAnswer(BaseModel):
    name: str
    kinds: list[Literal["segmenter", "detector", "tracker"]]
    family: str
    side: int
    device: str
    precision: str
    model_id: str
    default: bool


class ModelsAnswer(BaseModel):
    models: list[ModelAnswer]


class HealthAnswer(BaseModel):
    status: Literal["ok"]
    version: str


class ReadyAnswer(BaseModel):
    ready: bool
    sessions: int
    images: int
    jobs: int
