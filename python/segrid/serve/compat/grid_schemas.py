"""Bodies and answers of the grid tool, with its names and its defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST = 2**31 - 1


class Json(BaseModel):
    """JSON of the grid tool."""

    model_config = ConfigDict(allow_inf_nan=False)


class Click(Json):
    """A point in pixels of the image; label 1 is on the object, 0 is beside it."""

    x: float
    y: float
    label: Literal[0, 1]


class Corners(Json):
    """A box in pixels of the image."""

    x1: float
    y1: float
    x2: float
    y2: float


class Segment(Json):
    """What to segment: `prompts` is a list of points for "points", a box for "bbox", and may be
    missing for "grid"."""

    file_id: str | None = Field(default=None, max_length=128)
    prompt_type: str | None = Field(default=None, max_length=32, description="points, bbox or grid")
    prompts: Annotated[list[Click], Field(max_length=1024)] | Corners | None = None


class Parallel(Json):
    """The settings of grids. A number that is missing takes its default again."""

    max_workers: int = Field(default=4, ge=1, le=MOST)
    batch_size: int = Field(default=32, ge=1, le=MOST)
    target_points: int = Field(default=256, ge=1, le=MOST)
    max_masks: int = Field(default=50, ge=1, le=MOST)


class Configured(Json):
    """The settings of grids as they are now."""

    success: Literal[True] = True
    config: Parallel


class Uploaded(Json):
    """An image that was taken."""

    success: Literal[True] = True
    file_id: str
    filename: str
    width: int
    height: int


class Label(Json):
    """What a mask shows, by a classifier."""

    label: str
    confidence: float
    mask_index: int


class Segmented(Json):
    """The image with its masks in colour.

    `box` is there for "bbox"; `mask_count` and `labels` are there for "grid".
    """

    success: Literal[True] = True
    segmented_image: str = Field(description="Base64 of an RGBA PNG of the image's size.")
    box: list[float] | None = None
    mask_count: int | None = None
    labels: list[Label] | None = None


class Failed(Json):
    """What went wrong."""

    error: str
