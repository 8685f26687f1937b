"""Follows objects through video."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from segrid._native import _core
from segrid.loaded import LoadedModel
from segrid.segmenter import DEFAULT_POINTS, Segmenter
from segrid.torch_names import Device, Precision
from segrid.video.changed_config import ConfigChange
from segrid.video.frame_store import FrameStore
from segrid.video.live import LiveSession
from segrid.video.session import Session
from segrid.video.snapshots import Opened, Snapshot, read_snapshot
from segrid.video.sources import VideoLike, only_goes_forward, open_frames


class Tracker(LoadedModel):
    """A model that follows objects through video: SAM 2 and 2.1 (Ravi et al. 2024), and EdgeTAM
    (Zhou et al. 2025). Immutable; share it between threads, and open any number of sessions on it.

    Parameters
    ----------
    model, device, precision, threads : as for `Segmenter`; the model must have the memory of video
        (config.json with the model_type sam2_video, as transformers publishes SAM 2)

    image_side : the side of the square that frames are resized into, in pixels, a multiple of 32;
        None: the one that the model was trained for. At half of it the encoder takes a quarter of
        the time and memory attention a sixteenth, but small objects get lost (docs/video.md)
    memory_pooling : n: of each remembered frame, every square of n x n tokens is kept as its mean.
        None: every token is kept, as SAM 2 does. 2 saves most of memory attention, and three
        quarters of what each object's frames take in memory; masks change (docs/video.md). Only for
        SAM 2

    Raises what `Segmenter` raises; NotImplementedError for a model without memory, and for EdgeTAM
    with memory_pooling, whose memory is condensed already; ValueError for a side or a pooling that
    the model cannot have.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "tiny-video",
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
        image_side: int | None = None,
        memory_pooling: int | None = None,
    ) -> None:
        self._change = ConfigChange(image_side, memory_pooling)
        super().__init__(_core.Segmenter, model, device, precision, threads, **vars(self._change))
        self._check_memory()

    @classmethod
    def of(cls, segmenter: Segmenter) -> Tracker:
        """The tracker of a segmenter's model, with shared weights.

        Raises NotImplementedError for a model without the memory of video.
        """
        tracker = segmenter.shared_as(cls)
        tracker._change = ConfigChange()
        tracker._check_memory()
        return tracker

    def _check_memory(self) -> None:
        """Raises NotImplementedError for a model without the memory of video."""
        _core.Session(self._engine, (1, 1), 1)

    @property
    def segmenter(self) -> Segmenter:
        """The model for single images, with shared weights."""
        segmenter = self.shared_as(Segmenter)
        segmenter._points_per_side = DEFAULT_POINTS
        return segmenter

    def _config_file(self) -> AbstractContextManager[str]:
        return self._change.applied(self._files.config)

    def open(
        self,
        source: VideoLike,
        *,
        long_side: int | None = 1024,
        store_bytes: int | None = None,
        **options: int | bool | None,
    ) -> Session:
        """Opens a video. Objects are prompted and followed in the session.

        Parameters
        ----------
        source : path of a video file, its bytes, a folder of frames, a list or an iterator of
            images, or a callable(index) that gives an image
        long_side : larger frames are reduced to this long side, in pixels, before they are encoded
            (area interpolation); masks have the video's own size. None: frames are not reduced
        store_bytes : for iterators and other sources that only go forward: their frames are kept on
            disk as JPEG of quality 85, up to this many bytes (None: 2 GiB)
        options : see `Session`

        Raises what `open_frames` raises, and ValueError naming an option.
        """
        store = None
        if only_goes_forward(source):
            store = FrameStore() if store_bytes is None else FrameStore(max_bytes=store_bytes)
        frames = open_frames(source, long_side=long_side, store=store)
        try:
            path = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
            return Session(self._engine, frames, Opened(path, long_side), options)
        except BaseException:
            frames.close()
            raise

    def live(self, **options: int | bool | None) -> LiveSession:
        """A session whose frames are pushed one by one, for cameras.

        options : see `Session`
        """
        return LiveSession(self._engine, options)

    def restore(
        self,
        snapshot: str | os.PathLike[str] | Snapshot,
        source: VideoLike | None = None,
        *,
        store_bytes: int | None = None,
    ) -> Session:
        """Takes a session up again, in this process or another one: it goes on with the same bits.

        snapshot : a file that `Session.snapshot` wrote, or what `read_snapshot` read from it
        source : the video; None: the path that the session was opened with

        Raises FileNotFoundError, CorruptFileError (a ValueError) for a file that is no snapshot,
        and ValueError where another model made the snapshot, where the video has another size, or
        where no path is known.
        """
        kept = snapshot if isinstance(snapshot, Snapshot) else read_snapshot(snapshot)
        name = "snapshot" if isinstance(snapshot, Snapshot) else os.fspath(snapshot)
        if kept.model_id != self.model_id:
            raise ValueError(
                f"{name}: made by another model, or with another image_side or "
                f"memory_pooling ({kept.model_id}); this one is {self.model_id}"
            )
        source = kept.path if source is None else source
        if source is None:
            raise ValueError(f"{name}: the session was not opened by a path; give source=")
        session = self.open(
            source, long_side=kept.long_side, store_bytes=store_bytes, **kept.options
        )
        try:
            session.take_up(kept)
        except BaseException:
            session.close()
            raise
        return session
