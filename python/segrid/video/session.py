"""One video with the objects that are followed through it."""

from __future__ import annotations

import operator
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segrid._closing import Closing
from segrid._image import to_image
from segrid._native import CancelToken, _core, cancel_scope
from segrid._types import Options, Progress
from segrid.embedding import Embedding
from segrid.results import Masks
from segrid.video.export import export
from segrid.video.frames import FrameNotFound, Frames
from segrid.video.object_prompt import Manner, Prompt, Way
from segrid.video.objects import UNKNOWN_LENGTH, Objects, object_id
from segrid.video.prefetch import Prefetch
from segrid.video.run_progress import Told
from segrid.video.runs import Direction, Run, length_of, runs_of
from segrid.video.snapshots import Opened, Snapshot, write_snapshot
from segrid.video.tracked_frame import TrackedFrame

EMBEDDINGS = 2  # of frames that are kept: that of the last prompt and that of the last step


class Session(Objects, Closing):
    """A video that objects are followed through, made by `Tracker.open`. The rules are those of
    sam2's SAM2VideoPredictor, call by call (docs/video.md has the table).

    Use it in a `with` block, or call `close`. It is the only mutable object of this package and has
    one owner: a call that meets the call of another thread raises RuntimeError, or waits for it
    after `take_turns()`. A step of `propagate` waits for other calls.

    Options of `Tracker.open`, with sam2's names
    --------------------------------------------
    memory_frames : frames that are looked back at, one of them prompted (num_maskmem); default: the
        model's 7. Fewer are faster and forget sooner
    conditioning_frames : the most prompted frames that are looked at, 0 for all
        (max_cond_frames_in_attn)
    pointers : frames that are looked back at for object pointers (max_obj_ptrs_in_encoder)
    memory_stride : n: every n-th frame is remembered (memory_temporal_stride_for_eval)
    max_hole_area : holes of at most this many low-resolution pixels are filled (fill_hole_area)
    non_overlap : each pixel belongs to one object at most (non_overlap_masks)
    corrections_condition : a correction of a frame that was followed is a conditioning frame from
        then on (add_all_frames_to_correct_as_cond)
    forget_near_prompts : a prompt drops the memory of frames near it
        (clear_non_cond_mem_around_input)
    history : frames whose logits are kept in memory; of older ones the mask is kept
    keep_masks : False keeps no masks of frames that no later frame looks at
    max_objects : the most objects of the session

    Attributes
    ----------
    names, categories : of the objects that have one
    """

    def __init__(
        self, engine: _core.Segmenter, frames: Frames, opened: Opened, options: Options
    ) -> None:
        length = UNKNOWN_LENGTH if frames.count is None else frames.count
        super().__init__(engine, frames.size, length, options)
        self._frames, self._opened = frames, opened
        self._embeddings: OrderedDict[int, _core.Embedding] = OrderedDict()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the video, in pixels."""
        return self._frames.size

    @property
    def count(self) -> int | None:
        """The number of frames; None where it is not known yet."""
        return self._frames.count

    @property
    def rate(self) -> float | None:
        """The mean number of frames per second; None where the video does not tell."""
        return self._frames.rate

    @property
    def prompted_frames(self) -> list[int]:
        """The frames that have a prompt, ascending."""
        with self._owned("prompted_frames"):
            return self._native.prompted_frames

    @property
    def tracked_frames(self) -> list[int]:
        """The frames that have masks after `propagate`, ascending."""
        with self._owned("tracked_frames"):
            return self._native.tracked_frames

    @property
    def shown_frames(self) -> list[int]:
        """The frames that have masks, because they were prompted or followed, ascending."""
        return sorted({*self.prompted_frames, *self.tracked_frames})

    def add(
        self,
        id: int,
        frame: int = 0,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        replace: bool = False,
        anywhere: bool = False,
        anew: bool = False,
        direction: Way | None = None,
        name: str | None = None,
        category: int | None = None,
    ) -> Masks:
        """Prompts an object in a frame, before, during or after `propagate`. A second call for the
        same frame refines it.

        Parameters
        ----------
        id : the object, a new or a known one
        points, labels : (K, 2) clicks in pixels of the video; (K,) 1 foreground, 0 background (as
            in sam2, 2 and 3 are the corners of a box, and -1 is no point)
        boxes : one box, (4,) XYXY in pixels; before any click
        mask : (H, W) bool, the size of the video, in place of clicks and box
        replace : drops the clicks that the object has in this frame, rather than adding to them
            (sam2's clear_old_points)
        anywhere : accepts what the originals accept: points and boxes outside the frame, boxes with
            any corners, other labels, and a mask of any size, which is resized to the frame
        anew : the clicks count alone, as in transformers: the logits that were found in this frame
            before are no hint, and a frame that was prompted before is decoded without memory
        direction : of the run whose memory corrects a followed frame; None: that of its last run
        name, category : kept for exports

        Returns the masks of all objects in this frame, in the order of `ids`. Raises ValueError for
        prompts that do not fit, FrameNotFound (an IndexError), and what reading the frame raises.
        Source: sam2.SAM2VideoPredictor.add_new_points_or_box, add_new_mask.
        """
        manner = Manner(replace, anywhere, anew, direction)
        prompt = Prompt(points, labels, boxes, mask, manner)
        id, frame = object_id(id), operator.index(frame)
        with self._owned("add"):
            self._check_number(frame)
            embedding = self._prepared(frame)
            self._recall(self._native.forgotten_by_prompt(id, frame, manner.backwards))
            found = self._prompt(id, frame, embedding, prompt)
            self._name(id, name, category)
            return found.masks

    def propagate(
        self,
        direction: Direction = "forward",
        *,
        start: int | None = None,
        frames: int | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[TrackedFrame]:
        """Follows all objects from frame to frame. Each step of the iterator computes one frame, so
        a loop may stop, add prompts and call this again at any time.

        Parameters
        ----------
        direction : "both" goes forward, then backward from the frame before the start
        start : the first frame; default: the earliest prompted one
        frames : how many frames to follow after the first; default: to the end of the video
        progress : called after each frame with {"stage", "done", "total", "elapsed",
            "frames_per_second", "text"}; total is None where the length is not known
        cancel : a token; when it is cancelled, this call or the next step raises
            `segrid.Cancelled`. What was found before stays

        Raises ValueError without a prompt and for a start outside the video, Cancelled, and errors
        of frames that cannot be read, with their index; what was found before stays.
        Source: sam2.SAM2VideoPredictor.propagate_in_video.
        """
        if direction not in ("forward", "backward", "both"):
            raise ValueError(f"direction: expected forward, backward or both, got {direction!r}")
        if frames is not None and operator.index(frames) < 0:
            raise ValueError(f"frames: must be at least 0, got {frames}")
        tokens = [] if cancel is None else [cancel]
        with self._owned("propagate"), cancel_scope(tokens):
            self._recall(self._native.unremembered())
            self._native.commit()
            first = min(self._native.prompted_frames) if start is None else start
            self._check_number(operator.index(first))
        return self._steps(direction, first, frames, progress, cancel)

    def _steps(
        self,
        direction: Direction,
        start: int,
        most: int | None,
        progress: Progress | None,
        cancel: CancelToken | None,
    ) -> Iterator[TrackedFrame]:
        # Only the end of the video is believed, not what its header says of it.
        end = self.count if self._frames.count_is_exact else None
        told = Told(length_of(direction, start, most, self.count), progress)
        for run in runs_of(direction, start, most, end):
            with Prefetch(self._frames, run.indices) as pictures:
                yield from self._run(pictures, run, told, cancel)

    def _run(
        self,
        pictures: Prefetch,
        run: Run,
        told: Told,
        cancel: CancelToken | None,
    ) -> Iterator[TrackedFrame]:
        tokens = [] if cancel is None else [cancel]
        while True:
            try:
                index, picture = next(pictures)
            except StopIteration:
                return
            except FrameNotFound as end:
                if end.index == run.first or run.backwards:
                    raise
                return  # the end of the video
            with cancel_scope(tokens):
                found = self._step(index, picture, run.backwards)
            yield self._frame(found, told.next())

    def _step(
        self, index: int, picture: NDArray[np.uint8], backwards: bool
    ) -> tuple[int, list[int], _core.MaskSet]:
        with self._owned("step", waits=True):
            embedding = self._features(index, picture)
            self._recall(self._native.unremembered())
            self._native.commit()
            self._recall(self._native.forgotten(index, backwards))
            return self._native.track(index, embedding, backwards)

    def masks(self, frame: int) -> Masks:
        """The masks of all objects in a frame that was prompted or followed, in the order of `ids`.

        Raises ValueError where there are none.
        """
        return self.frame(frame).masks

    def frame(self, frame: int) -> TrackedFrame:
        """`masks` with the ids and names of the objects."""
        with self._owned("masks"):
            return self._frame(self._native.masks(operator.index(frame)))

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """The pixels of a frame, (h, w, 3) uint8 RGB, reduced to `long_side`.

        Raises FrameNotFound (an IndexError) beyond the end, and what reading the frame raises.
        """
        return self._frames.read(operator.index(frame))

    def embedding(self, frame: int) -> Embedding:
        """The encoded frame, of the size that `picture` has. The last frame that was followed or
        prompted is not encoded again. Raises what `picture` raises."""
        with self._owned("embedding"):
            return Embedding(self._prepared(operator.index(frame)))

    def clear(self, id: int, frame: int) -> None:
        """Takes back the prompts of an object in a frame. The frame's mask stays as one that was
        followed; `propagate` computes it again.

        Source: sam2.SAM2VideoPredictor.clear_all_prompts_in_frame.
        """
        with self._owned("clear"):
            self._native.clear(object_id(id), operator.index(frame))

    def remove(self, id: int) -> list[int]:
        """Removes an object, and returns the frames in which it was prompted.

        Raises ValueError for an unknown id. Source: sam2.SAM2VideoPredictor.remove_object.
        """
        with self._owned("remove"):
            frames = self._native.remove(object_id(id))
            self._forget_names()
            return frames

    def reset(self) -> None:
        """Removes all objects. Source: sam2.SAM2VideoPredictor.reset_state."""
        with self._owned("reset"):
            self._native.reset()
            self._forget_names()

    def export(
        self,
        *,
        overlay: str | os.PathLike[str] | None = None,
        labels: str | os.PathLike[str] | None = None,
        rle: str | os.PathLike[str] | None = None,
        table: str | os.PathLike[str] | None = None,
        rate: float | None = None,
        frames: Iterable[int] | None = None,
    ) -> list[Path]:
        """Writes the objects of all frames that have masks, and returns the paths.

        overlay : an .mp4, .mov, .mkv or .avi file with the objects drawn on the frames
        labels : a folder of PNGs, whose pixels are the objects' ids
        rle : a .json file of all masks as COCO's run lengths
        table : a .csv file of areas, boxes and centroids
        rate : frames per second of the overlay; None: that of the video, else 25
        frames : the frames to write, also such without objects; None: those that have masks

        Raises ValueError where there is nothing to write, and for files of other endings;
        FrameNotFound (an IndexError) for a frame that is not there; and OSError.
        """
        there = set(shown := self.shown_frames)
        wanted = shown if frames is None else list(map(operator.index, frames))
        if not wanted:
            raise ValueError("export: no frames to write")
        for frame in wanted:
            self._check_number(frame)
        return export(
            (self.frame(i) if i in there else TrackedFrame.empty(i, self.size) for i in wanted),
            self._frames,
            overlay=overlay,
            labels=labels,
            rle=rle,
            table=table,
            rate=rate,
        )

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Writes everything but the video's frames to one file; `Tracker.restore` goes on from it.

        The file is complete or absent, also when the process is killed.
        """
        with self._owned("snapshot"):
            write_snapshot(
                path,
                Snapshot(
                    model_id=self._engine.model_id,
                    path=self._opened.path,
                    long_side=self._opened.long_side,
                    size=self.size,
                    options=self._options,
                    names=self.names,
                    categories=self.categories,
                    tracks=self._native.state(),
                ),
            )

    def take_up(self, kept: Snapshot) -> None:
        """Goes on from a snapshot; see `Tracker.restore`.

        Raises ValueError where the video has another size.
        """
        if kept.size != self.size:
            raise ValueError(
                f"restore: the snapshot is of a video of {kept.size[1]} x {kept.size[0]} pixels, "
                f"and {self._frames.name} has {self.size[1]} x {self.size[0]}"
            )
        with self._owned("restore"):
            self._native.restore(kept.tracks)
            self.names, self.categories = dict(kept.names), dict(kept.categories)

    def close(self) -> None:
        """Closes the video and drops all masks. A second call does nothing."""
        with self._owned("close"):
            self._closed = True
            self._frames.close()
            self._embeddings.clear()
            self._native.reset()

    def _check_number(self, frame: int) -> None:
        beyond = self.count is not None and frame >= self.count and self._frames.count_is_exact
        if frame < 0 or beyond:
            raise FrameNotFound(self._frames.name, frame, self.count)

    def _features(self, frame: int, picture: NDArray[np.uint8] | None = None) -> _core.Embedding:
        """The encoded frame, from its picture where that is at hand. It may not be prepared yet:
        that is only of use to prompts."""
        if frame not in self._embeddings:
            while len(self._embeddings) >= EMBEDDINGS:  # before the encoder needs memory, too
                self._embeddings.popitem(last=False)
            image = to_image(self._frames.read(frame) if picture is None else picture)
            self._embeddings[frame] = self._engine.encode_frame(image)
        self._embeddings.move_to_end(frame)
        if frame >= self._native.frames:  # the header had claimed fewer
            self._native.set_frames(frame + 1)
        return self._embeddings[frame]

    def _prepared(self, frame: int) -> _core.Embedding:
        """The encoded frame, ready for prompts."""
        self._embeddings[frame] = self._engine.prepared(self._features(frame))
        return self._embeddings[frame]

    def _recall(self, frames: list[int]) -> None:
        """Encodes the memory of frames that lack it."""
        for frame in frames:
            self._native.remember(frame, self._features(frame))
