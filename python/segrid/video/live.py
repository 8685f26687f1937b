"""A session whose frames are pushed one by one: a camera."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from segrid._closing import Closing
from segrid._image import ImageLike, to_image
from segrid._native import _core
from segrid._types import Options
from segrid.results import Masks
from segrid.video.object_prompt import Manner, Prompt
from segrid.video.objects import UNKNOWN_LENGTH, Objects, object_id
from segrid.video.tracked_frame import TrackedFrame


@dataclass(frozen=True)
class _Waiting:
    """A prompt that was given before the first frame."""

    id: int
    prompt: Prompt
    name: str | None
    category: int | None


class LiveSession(Objects, Closing):
    """Follows objects through frames that come one after the other, for ever, made by
    `Tracker.live`. Its memory does not grow: nothing is kept of frames that no later one looks at.

    options : see `Session`; keep_masks is False where it is not given
    """

    def __init__(self, engine: _core.Segmenter, options: Options) -> None:
        # The first frame tells the size; until then this checks the options.
        super().__init__(engine, (1, 1), 1, {"keep_masks": False, **options})
        self._waiting: list[_Waiting] = []
        self._embedding: _core.Embedding | None = None
        self._size: tuple[int, int] | None = None
        self._index = -1

    @property
    def index(self) -> int:
        """The number of the last frame, from 0; -1 before the first one."""
        return self._index

    def add(
        self,
        id: int,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        replace: bool = False,
        anywhere: bool = False,
        anew: bool = False,
        name: str | None = None,
        category: int | None = None,
    ) -> Masks | None:
        """Prompts an object in the last frame that was pushed; arguments as for `Session.add`. That
        of `direction` is not among them: the frames of a camera go forward only.

        Before the first frame, the prompt waits for it, and the result is None. Afterwards returns
        the masks of all objects in the last frame. Raises ValueError for prompts that do not fit.
        """
        prompt = Prompt(points, labels, boxes, mask, Manner(replace, anywhere, anew))
        id = object_id(id)
        with self._owned("add"):
            if self._embedding is None:
                self._waiting.append(_Waiting(id, prompt, name, category))
                return None
            self._embedding = self._engine.prepared(self._embedding)
            found = self._prompt(id, self._index, self._embedding, prompt)
            self._name(id, name, category)
            return found.masks

    def step(self, image: ImageLike) -> Masks:
        """Pushes the next frame, and returns the masks of all objects in it, in the order of `ids`.

        Raises ValueError for a frame of another size than the first one, and what `read_image`
        raises; the session stays as it was before. Raises ValueError, too, where a prompt that
        waited for the first frame does not fit it: then this prompt is dropped, the others wait on,
        and the next frame is the first one.
        """
        return self.step_frame(image).masks

    def step_frame(self, image: ImageLike) -> TrackedFrame:
        """`step` with the frame's number and the ids of the objects."""
        picture = to_image(image)
        size = picture.shape[:2]
        with self._owned("step"):
            if self._size is not None and size != self._size:
                raise ValueError(
                    f"step: frame {self._index + 1} has {size[1]} x {size[0]} pixels, but the "
                    f"first one had {self._size[1]} x {self._size[0]}; open another session for it"
                )
            embedding = self._engine.encode_frame(picture)
            if self._size is None:
                embedding = self._engine.prepared(embedding)
                self._begin(size, embedding)
            self._settle()
            self._index, self._embedding = self._index + 1, embedding
            self._settle()
            found = self._native.track(self._index, embedding, False)
            if not self._options["keep_masks"]:
                self._native.drop_prompts(self._index)
            return self._frame(found)

    def _begin(self, size: tuple[int, int], embedding: _core.Embedding) -> None:
        """Gives the first frame the prompts that waited for it."""
        self._native = _core.Session(self._engine, size, UNKNOWN_LENGTH, self._options)
        for one in self._waiting:
            try:
                self._prompt(one.id, 0, embedding, one.prompt)
            except ValueError as error:
                self._waiting.remove(one)
                self._native.reset()
                raise ValueError(
                    f"step: the prompt of object {one.id}, which waited for the first frame, does "
                    f"not fit it and is dropped: {error}"
                ) from error
        for one in self._waiting:
            self._name(one.id, one.name, one.category)
        self._waiting.clear()
        self._size = size

    def _settle(self) -> None:
        """Lets the prompts of the last frame take part in memory."""
        if self._embedding is not None and self._native.ids:
            for frame in self._native.unremembered():
                self._native.remember(frame, self._embedding)
            self._native.commit()

    def clear(self, id: int) -> None:
        """Takes back the prompts of an object in the last frame, or those that wait for the first
        one. Raises ValueError for an unknown id."""
        with self._owned("clear"):
            id = object_id(id)
            if not self._dropped(id):
                self._native.clear(id, max(0, self._index))

    def remove(self, id: int) -> None:
        """Removes an object, also one whose prompts wait for the first frame. Raises ValueError for
        an unknown id."""
        with self._owned("remove"):
            id = object_id(id)
            if not self._dropped(id):
                self._native.remove(id)
                self._forget_names()

    def _dropped(self, id: int) -> bool:
        """Drops the prompts of an object that wait for the first frame. Returns whether it had
        some."""
        others = [one for one in self._waiting if one.id != id]
        had_some = len(others) < len(self._waiting)
        self._waiting = others
        return had_some

    def reset(self) -> None:
        """Removes all objects; the frames go on."""
        with self._owned("reset"):
            self._native.reset()
            self._waiting.clear()
            self._forget_names()

    def close(self) -> None:
        """Drops everything: the session takes no more frames. A second call does nothing."""
        with self._owned("close"):
            self._closed = True
            self._native.reset()
            self._embedding = None
            self._waiting.clear()
