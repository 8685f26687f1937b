"""The frames of a video file: sequential reading is the fast path, and any frame can be read."""

from __future__ import annotations

import warnings
from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segrid._native import CorruptFileError
from segrid.video.frames import FrameNotFound, Frames
from segrid.video.pictures import shown_size, to_rgb
from segrid.video.video_decoder import VideoDecoder

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

NO_TIME = -(2**63)


class VideoFileFrames(Frames):
    """Frames are counted in the order in which they are shown, as the decoder gives them; what a
    header says of their number is not believed.

    Going forward decodes one frame for each. Going back starts at the last key frame before, and
    decodes forward; as many frames as the cache holds are kept, so that reading backwards decodes a
    group of pictures once, or in pieces if it is larger than the cache.

    A frame that is damaged raises CorruptFileError with its index. The frames before it can be
    read; those after it, too, if the decoder goes on.
    """

    def __init__(self, file: BinaryIO, name: str, long_side: int | None) -> None:
        super().__init__(name, long_side)
        self._file = file
        self._decoder = VideoDecoder(file, name)
        self.rate = self._decoder.rate
        self._next_index = 0  # of the picture that the decoder gives next
        self._pts = array("q")  # of all frames that have been decoded
        self._keys = array("q")  # the indices of key frames among them
        self._can_seek = True  # every frame has a time, and times rise
        self._sought = False  # whether the decoder came to where it is by a seek
        self._interrupted = False  # Ctrl-C may have lost a picture between decoder and index
        self._flaws: dict[int, str] = {}
        self._end: int | None = None  # the number of frames that can be read
        self._end_reason: str | None = None  # why that is not the end of the video

    @property
    def count(self) -> int | None:
        if self.count_is_exact:
            return self._end
        claimed = self._decoder.claimed
        return claimed if claimed is not None and claimed >= len(self._pts) else None

    @property
    def count_is_exact(self) -> bool:
        return self._end is not None and self._end_reason is None

    @property
    def times(self) -> NDArray[np.float64]:
        with self._lock:
            ticks = np.array(self._pts, np.int64)
        seconds = (ticks - ticks[:1]) * self._decoder.seconds_per_tick
        return np.where(ticks == NO_TIME, np.nan, seconds)

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        if self._interrupted:
            self._restart()
        self._interrupted = True
        try:
            frame = self._decoded(index)
        except (ValueError, FrameNotFound, NotImplementedError):  # the decoder is where it should
            self._interrupted = False
            raise
        self._interrupted = False
        return frame

    def _decoded(self, index: int) -> NDArray[np.uint8]:
        if self._end is not None and index >= self._end:
            raise self._beyond(index)
        backwards = index < self._next_index
        if backwards or self._key_before(index) > self._next_index:
            self._go_to(index)
        room = self._cache.room(int(np.prod(self.reduced_size)) * 3)
        first = index - room + 1 if backwards else index
        while (picture := self._next()) is not None:
            at = self._next_index - 1
            if at == index:
                return self._keep(index, self._pixels(index, picture))
            if at >= first and self._flaw(at, picture) is None:
                self._keep(at, self._pixels(at, picture))
        raise self._beyond(index)

    def _pixels(self, index: int, picture: VideoFrame) -> NDArray[np.uint8]:
        if (flaw := self._flaw(index, picture)) is not None:
            raise flaw
        return to_rgb(picture, self._place(index))

    def _flaw(self, index: int, picture: VideoFrame) -> ValueError | None:
        """Why a picture is no frame of this video, or None."""
        if index in self._flaws:
            return CorruptFileError(f"{self._place(index)}: {self._flaws[index]}")
        size = shown_size(picture, self._place(index))
        other = self.size != (0, 0) and size != self.size
        return ValueError(self._other_size(index, size)) if other else None

    def _beyond(self, index: int) -> Exception:
        """The error of a frame that is not there."""
        if self._end_reason is None or self._end is None:
            return FrameNotFound(self.name, index, self._end)
        left = f"frames 0 to {self._end - 1} can be read" if self._end else "no frame can be read"
        return CorruptFileError(f"{self._place(self._end)}: {self._end_reason}; {left}")

    def _next(self) -> VideoFrame | None:
        """The picture of `_next_index`, which then is one more; None at the end."""
        picture, index = self._decoder.next(), self._next_index
        if picture is None:
            if index < len(self._pts):  # the decoder lost its way after a seek
                return self._again(index)
            self._note_end(index)
            return None
        pts = NO_TIME if picture.pts is None else picture.pts
        if index == len(self._pts):
            self._note(index, pts, picture)
        elif pts != self._pts[index]:
            return self._again(index)
        self._next_index += 1
        return picture

    def _note(self, index: int, pts: int, picture: VideoFrame) -> None:
        """Notes what is found out about a frame when it is decoded for the first time."""
        rises = index == 0 or pts > self._pts[index - 1]
        self._can_seek &= pts != NO_TIME and rises
        self._pts.append(pts)
        if picture.key_frame:
            self._keys.append(index)
        if self._decoder.is_damaged(picture):
            self._flaws[index] = "its data is damaged or incomplete"

    def _note_end(self, count: int) -> None:
        self._end, self._end_reason = count, self._decoder.failure
        claimed = self._decoder.claimed
        if self._end_reason is None and claimed is not None and 0 < count < claimed:
            warnings.warn(
                f"{self.name}: its header counts {claimed} frames; it has {count}",
                UserWarning,
                stacklevel=5,
            )

    def _key_before(self, index: int) -> int:
        """The last key frame at or before a frame, as far as frames have been decoded."""
        known = min(index, len(self._pts) - 1)
        return self._keys[place - 1] if (place := bisect_right(self._keys, known)) else 0

    def _go_to(self, index: int) -> None:
        """Places the decoder at a key frame at or before a frame that has been decoded, or at the
        beginning."""
        key = self._key_before(index)
        for _ in range(2):  # a seek may end one key frame too late
            if self._can_seek and key > 0 and self._starts_at(key, index):
                return
            key = self._key_before(key - 1) if key > 0 else 0
        self._restart()

    def _starts_at(self, key: int, most: int) -> bool:
        """Whether seeking a key frame leads to one that is known and not after the frame `most`."""
        if not self._decoder.seek(self._pts[key]):
            return False
        latest = self._pts[min(most, len(self._pts) - 1)]
        while (picture := self._decoder.next()) is not None:
            if picture.pts is None or picture.pts > latest:
                return False
            at = bisect_left(self._pts, picture.pts)
            if self._pts[at] == picture.pts and self._key_before(at) == at:
                self._decoder.put_back(picture)
                self._next_index, self._sought = at, True
                return True
        return False

    def _again(self, index: int) -> VideoFrame | None:
        """The picture of an index, after the decoder gave another one than the first time."""
        if not self._sought:
            self._end, self._end_reason = index, "decoding it again gives another frame"
            return None
        self._can_seek = False  # in this file seeks do not lead where they should
        self._restart()
        picture = self._next()
        while picture is not None and self._next_index <= index:
            picture = self._next()
        return picture

    def _restart(self) -> None:
        self._decoder.restart()
        self._next_index, self._sought = 0, False

    def _release(self) -> None:
        self._decoder.close()
        self._file.close()
