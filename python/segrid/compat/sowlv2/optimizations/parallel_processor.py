"""Several prompts, boxes, frames and files at once. The engine's own pool does the computing; `max_workers` and `batch_size` of a configuration are taken
and not needed, `thread_pool_size` is that of reading and writing files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from segrid._files import whole
from segrid.compat.sowlv2.models import OWLV2Wrapper, SAM2Wrapper


@dataclass
class BatchDetectionResult:
    """Detections of one prompt."""

    prompt: str
    detections: list[dict[str, Any]]
    prompt_idx: int


@dataclass
class ParallelConfig:
    """As the original's."""

    max_workers: int | None = 4
    batch_size: int = 8
    use_gpu_batching: bool = True
    thread_pool_size: int = 16


class ParallelDetectionProcessor:
    """Detection of several prompts in one image pass. Models may be segrid's own objects, or names of models."""

    def __init__(self, owl_model: Any, sam_model: Any = None, config: ParallelConfig | None = None) -> None:
        self.owl_model = owl_model if hasattr(owl_model, "detect_each") else OWLV2Wrapper(owl_model)
        self.sam_model = sam_model
        self.config = config or ParallelConfig()
        self.device = self.owl_model.device

    def detect_multiple_prompts_parallel(self, image: Any, prompts: list[str], threshold: float) -> list[BatchDetectionResult]:
        """One result for each prompt, in their order: what detecting each of them alone gives."""
        if not prompts:
            return []
        found = self.owl_model.detect_each(image, prompts, threshold)
        return [BatchDetectionResult(prompt, own, i) for i, (prompt, own) in enumerate(zip(prompts, found, strict=True))]


class ParallelSegmentationProcessor:
    """Masks of all boxes of an image, in one batch."""

    def __init__(self, sam_model: Any, config: ParallelConfig | None = None) -> None:
        self.sam_model = sam_model if hasattr(sam_model, "segment_all") else SAM2Wrapper(sam_model)
        self.config = config or ParallelConfig()

    def segment_detections_parallel(self, image: Any, detections: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Any]]:
        """[(detection, (H, W) uint8 mask of 0 and 255)] in their order."""
        return list(zip(detections, self.sam_model.segment_all(image, [d["box"] for d in detections]), strict=True))


class ParallelFrameProcessor:
    """Calls a function for each of many frames."""

    def __init__(self, config: ParallelConfig | None = None) -> None:
        self.config = config or ParallelConfig()

    def process_frames_parallel(self, frame_paths: list[str], process_func: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Results in the frames' order; None, and a line on the terminal, where the function raised."""
        def one(numbered: tuple[int, str]) -> Any:
            try:
                return process_func(numbered[1], *args, **kwargs)
            except Exception as error:
                print(f"Error processing frame {numbered[0]}: {error}")
                return None

        with ThreadPoolExecutor(self.config.thread_pool_size) as pool:
            return list(pool.map(one, enumerate(frame_paths)))


class ParallelIOProcessor:
    """Writes many images."""

    def __init__(self, config: ParallelConfig | None = None) -> None:
        self.config = config or ParallelConfig()

    def save_outputs_parallel(self, save_tasks: list[tuple[str, Any]]) -> None:
        """Writes (path, PIL image) pairs, each whole or not at all. Raises what writing raises, of the first that failed."""
        with ThreadPoolExecutor(self.config.thread_pool_size) as pool:
            list(pool.map(lambda task: _save(*task), save_tasks))


def _save(path: str, image: Any) -> None:
    with whole(path) as part:
        image.save(part, format="PNG")
