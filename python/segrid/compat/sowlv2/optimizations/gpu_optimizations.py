"""SOWLv2's GPU helpers, for pipelines that call them.

With a CUDA torch they apply to torch models what their names say; on a CPU they do the part that is
possible there. segrid's own models need none of them, because the engine does this work itself."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any


class GPUOptimizer:
    """Helpers for torch models on a GPU.

    memory_fraction : share of a GPU's memory that torch may use
    use_amp : whether autocast_context has an effect"""

    def __init__(self, device: str = "cuda") -> None:
        import torch

        self.device = device if device == "cpu" or torch.cuda.is_available() else "cpu"
        if self.device != device:
            print(
                f"GPUOptimizer: no CUDA device for {device!r}; models stay on the CPU, without "
                "autocast"
            )
        self.use_amp = self.device != "cpu"
        self.memory_fraction = 0.9
        if self.use_amp:
            torch.cuda.set_per_process_memory_fraction(self.memory_fraction)

    @contextlib.contextmanager
    def autocast_context(self) -> Iterator[None]:
        """A context with FP16 autocast on CUDA, and without effect on a CPU."""
        import torch

        with torch.autocast("cuda", torch.float16) if self.use_amp else contextlib.nullcontext():
            yield

    def optimize_model_for_inference(self, model: Any) -> Any:
        """Puts a torch module into eval mode, without gradients, on the device, and returns it.

        Anything else, such as segrid's models, is returned unchanged."""
        if hasattr(model, "parameters") and hasattr(model, "eval"):
            model.eval()
            for parameter in model.parameters():
                parameter.requires_grad = False
            return model.to(self.device)
        return model

    def batch_inference(
        self, model: Callable[..., Any], inputs: list[Any], batch_size: int = 4
    ) -> list[Any]:
        """Returns the model's outputs for a list of tensors of one shape, stacked `batch_size` at a
        time.

        Raises ValueError for a batch_size below 1."""
        import torch

        if batch_size < 1:
            raise ValueError(f"batch_size: must be at least 1, got {batch_size}")
        outputs: list[Any] = []
        with torch.no_grad(), self.autocast_context():
            for i in range(0, len(inputs), batch_size):
                outputs.extend(model(torch.stack(inputs[i : i + batch_size]).to(self.device)))
        return outputs

    @staticmethod
    def profile_gpu_memory() -> dict[str, float]:
        """Returns {"allocated", "reserved", "free"} in GB; empty without CUDA.

        segrid's models count, because they have torch's allocator."""
        import torch

        if not torch.cuda.is_available():
            return {}
        # Before this call torch's Python part gives zeros, whatever the engine has allocated.
        torch.cuda.init()  # type: ignore[no-untyped-call]
        allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        total = torch.cuda.get_device_properties(0).total_memory
        return {
            "allocated": allocated / 1024**3,
            "reserved": reserved / 1024**3,
            "free": (total - reserved) / 1024**3,
        }

    def clear_cache(self) -> None:
        """Releases the memory that torch caches, and collects garbage."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.synchronize()
        gc.collect()


class StreamedProcessing:
    """Calls a function item by item, on alternating CUDA streams if there are any."""

    def __init__(self, num_streams: int = 2) -> None:
        import torch

        self.num_streams = num_streams
        self.streams = (
            [torch.cuda.Stream() for _ in range(num_streams)] if torch.cuda.is_available() else []
        )  # type: ignore[no-untyped-call]

    def process_with_streams(
        self, process_func: Callable[..., Any], data_list: list[Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Returns the results in the items' order."""
        import torch

        results = []
        for i, item in enumerate(data_list):
            with (
                torch.cuda.stream(self.streams[i % self.num_streams])
                if self.streams
                else contextlib.nullcontext()
            ):
                results.append(process_func(item, *args, **kwargs))
        for stream in self.streams:
            stream.synchronize()
        return results
