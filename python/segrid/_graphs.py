"""Graphs of devices: what the engine launches as one instead of operation by operation.

The engine calls `graph_of` on its device thread; only capturing needs Python.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, Protocol


class Graph(Protocol):
    """A graph of the current stream's operations."""

    def begin(self, beside: Any) -> None:
        """From now on the stream's operations are noted and not done.

        beside : a graph of the same kind that never runs at the same time, whose memory may be
            used again; or None
        """

    def end(self) -> None:
        """The graph is complete."""

    @property
    def launcher(self) -> tuple[int, int]:
        """The address of a C function `int launch(void* graph, void* stream)`, which returns 0 or
        an error, and its first argument."""


class CudaGraph:
    """A graph of torch.cuda."""

    def __init__(self) -> None:
        import torch

        self._graph = torch.cuda.CUDAGraph()
        self._launch = _cuda_runtime(torch.version.cuda or "").cudaGraphLaunch

    def begin(self, beside: CudaGraph | None) -> None:
        pool = None if beside is None else beside._graph.pool()
        # Other threads may use the device meanwhile: they copy pixels to it.
        self._graph.capture_begin(pool, capture_error_mode="thread_local")

    def end(self) -> None:
        self._graph.capture_end()

    @property
    def launcher(self) -> tuple[int, int]:
        address = ctypes.cast(self._launch, ctypes.c_void_p).value
        assert address is not None
        return address, int(self._graph.raw_cuda_graph_exec())


def _cuda_runtime(version: str) -> ctypes.CDLL:
    """The library that torch has loaded."""
    everything = ctypes.CDLL(None)
    if hasattr(everything, "cudaGraphLaunch"):
        return everything
    return ctypes.CDLL(f"libcudart.so.{version.split('.')[0]}")


MAKERS: dict[str, Callable[[], Graph]] = {"cuda": CudaGraph}  # by the type of the device


def graph_of(device: str) -> Graph | None:
    """A new graph of a device such as "cuda:0"; None where there are none, and with
    SEGRID_GRAPHS=0."""
    maker = MAKERS.get(device.split(":")[0])
    return None if maker is None or os.environ.get("SEGRID_GRAPHS") == "0" else maker()
