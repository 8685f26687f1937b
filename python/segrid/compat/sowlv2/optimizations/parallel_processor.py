"""Processes several prompts, boxes, frames and files at once. The engine's own pool computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from segrid._files import atomic_write
from segrid.compat.sowlv2.models import OWLV2Wrapper, SAM2Wrapper
from segrid.compat.sowlv2.utils.pipeline_utils import prompt_list

IO_THREADS = 16


@dataclass
class ParallelConfig:
    """The options of SOWLv2 as of June 2025, followed by those of earlier versions.

    max_workers : threads that read and write files, if `thread_pool_size` is not given
    enable_threading : False: files are processed one after the other
    thread_pool_size : threads that read and write files; None: max_workers, else IO_THREADS
    detection_batch_size, segmentation_batch_size, io_batch_size, thread_safety, batch_size,
        use_gpu_batching : accepted without effect, because the engine chooses its batch sizes
        itself and its models may be used from many threads"""

    max_workers: int | None = None
    detection_batch_size: int = 4
    segmentation_batch_size: int = 2
    io_batch_size: int = 8
    enable_threading: bool = True
    thread_safety: bool = True
    batch_size: int = 8
    use_gpu_batching: bool = True
    thread_pool_size: int | None = None

    @property
    def io_threads(self) -> int:
        """The number of threads that read and write files."""
        if not self.enable_threading:
            return 1
        return self.thread_pool_size or self.max_workers or IO_THREADS


@dataclass
class BatchDetectionResult:
    """The detections of one prompt. It has no errors, because segrid raises if detection fails."""

    detections: list[dict[str, Any]] = field(default_factory=list)
    success_count: int = 0
    error_count: int = 0
    errors: list[str] = field(default_factory=list)
    prompt: str = ""
    prompt_idx: int = 0


class ParallelDetectionProcessor:
    """Detects several prompts in one image pass. The models may be segrid's own objects or names of
    models."""

    def __init__(
        self,
        owl_model: Any,
        sam_model: Any = None,
        parallel_config: ParallelConfig | None = None,
        *,
        config: ParallelConfig | None = None,
    ) -> None:
        self.owl_model = owl_model if hasattr(owl_model, "detect_each") else OWLV2Wrapper(owl_model)
        self.sam_model = sam_model
        self.owl, self.sam = self.owl_model, self.sam_model
        self.config = parallel_config or config or ParallelConfig()
        self.device = self.owl_model.device

    def detect_multiple_prompts_parallel(
        self, image: Any, prompts: str | list[str], threshold: float
    ) -> list[BatchDetectionResult]:
        """Returns one result for each prompt, in order: the same as if each prompt were detected
        alone. A text is one prompt."""
        prompts = prompt_list(prompts)
        if not prompts:
            return []
        found = self.owl_model.detect_each(image, prompts, threshold)
        return [
            BatchDetectionResult(own, len(own), prompt=prompt, prompt_idx=i)
            for i, (prompt, own) in enumerate(zip(prompts, found, strict=True))
        ]


class ParallelSegmentationProcessor:
    """Segments all boxes of an image in one batch."""

    def __init__(
        self,
        sam_model: Any,
        parallel_config: ParallelConfig | None = None,
        *,
        config: ParallelConfig | None = None,
    ) -> None:
        self.sam_model = sam_model if hasattr(sam_model, "segment_all") else SAM2Wrapper(sam_model)
        self.sam = self.sam_model
        self.config = parallel_config or config or ParallelConfig()

    def segment_detections_parallel(
        self, image: Any, detections: list[dict[str, Any]]
    ) -> list[tuple[dict[str, Any], Any]]:
        """Returns [(detection, (H, W) uint8 mask of 0 and 1)] in the detections' order."""
        masks = self.sam_model.segment_all(image, [d["box"] for d in detections])
        return list(zip(detections, masks, strict=True))


class ParallelFrameProcessor:
    """Processes many frames. They are detected and segmented, as of June 2025, or each is passed to
    a function, as in earlier versions."""

    def __init__(
        self,
        detection_processor: Any = None,
        segmentation_processor: Any = None,
        parallel_config: ParallelConfig | None = None,
        *,
        config: ParallelConfig | None = None,
    ) -> None:
        if isinstance(detection_processor, ParallelConfig):  # earlier versions passed it first
            detection_processor, config = None, detection_processor
        self.detection_processor = detection_processor
        self.segmentation_processor = segmentation_processor
        self.config = parallel_config or config or ParallelConfig()

    def process_frames_parallel(
        self, frames: list[Any], prompts: Any, *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Processes frames in parallel; results are in the frames' order.

        With prompts (a text is one prompt) and a threshold, it returns [{"frame_idx", "detections",
        "segmentations"}]. The result of a frame that failed, such as None for a file that OpenCV
        cannot read, has "error".

        With a function instead of prompts, it returns the function's result for each frame and
        `args`. If the function raises, the result is None and a line is printed.
        """
        if callable(prompts):
            return self._each(frames, prompts, args, kwargs)
        return [self._frame(i, frame, prompts, *args, **kwargs) for i, frame in enumerate(frames)]

    def _frame(
        self, index: int, frame: Any, prompts: str | list[str], threshold: float
    ) -> dict[str, Any]:
        try:
            results = self.detection_processor.detect_multiple_prompts_parallel(
                frame, prompts, threshold
            )
            found = [detection for result in results for detection in result.detections]
            masks = self.segmentation_processor.segment_detections_parallel(frame, found)
        except (ValueError, TypeError, OSError, NotImplementedError, MemoryError) as error:
            print(f"Frame {index} processing failed: {error}")
            return {"frame_idx": index, "detections": [], "error": str(error)}
        return {"frame_idx": index, "detections": found, "segmentations": masks}

    def _each(
        self,
        frames: Iterable[Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> list[Any]:
        def one(numbered: tuple[int, Any]) -> Any:
            try:
                return function(numbered[1], *args, **kwargs)
            except Exception as error:
                print(f"Error processing frame {numbered[0]}: {error}")
                return None

        with ThreadPoolExecutor(self.config.io_threads) as pool:
            return list(pool.map(one, enumerate(frames)))


class ParallelIOProcessor:
    """Writes many images."""

    def __init__(
        self, parallel_config: ParallelConfig | None = None, *, config: ParallelConfig | None = None
    ) -> None:
        self.config = parallel_config or config or ParallelConfig()

    def save_outputs_parallel(self, save_tasks: list[tuple[str, Any]]) -> None:
        """Writes (path, PIL image) pairs as PNG. Each file is written completely or not at all.
        Raises the error of the first one that failed."""
        with ThreadPoolExecutor(self.config.io_threads) as pool:
            list(pool.map(lambda task: _save(*task), save_tasks))


def _save(path: str, image: Any) -> None:
    with atomic_write(path) as part:
        image.save(part, format="PNG")
