"""Graphs of devices: what the engine launches as one instead of operation by operation.

The engine calls `graph_of` on its device thread; only capturing needs Python.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

    def failed(self, error: int) -> str:
        """Forgets an error of launching, and says what it was."""

    @property
    def launcher(self) -> tuple[int, int]:
        """The address of a C function `int launch(void* graph, void* stream)`, which returns 0 or
        an error, and its first argument."""


class CudaGraph:
    """A graph of torch.cuda."""

    def __init__(self) -> None:
        import torch

        self._graph = torch.cuda.CUDAGraph()
        self._pool: Any = None  # a handle of torch
        self._runtime = _cuda_runtime(torch.version.cuda or "")

    def begin(self, beside: CudaGraph | None) -> None:
        import torch

        self._device = torch.cuda.current_device()
        self._pool = torch.cuda.graph_pool_handle() if beside is None else beside._pool
        with self._given_up():
            # Other threads may use the device meanwhile: they copy pixels to it.
            self._graph.capture_begin(self._pool, capture_error_mode="thread_local")

    def end(self) -> None:
        with self._given_up():
            self._graph.capture_end()

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        """Where capturing fails, torch's allocator must not go on as if it were under way: it would
        keep all memory that other streams have used."""
        try:
            yield
        except BaseException:
            from torch import _C

            for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
                with suppress(Exception):  # it had not begun
                    getattr(_C, name)(self._device, self._pool)
            raise

    def failed(self, error: int) -> str:
        self._runtime.cudaGetLastError()
        self._runtime.cudaGetErrorString.restype = ctypes.c_char_p
        return str(self._runtime.cudaGetErrorString(error).decode())

    @property
    def launcher(self) -> tuple[int, int]:
        address = ctypes.cast(self._runtime.cudaGraphLaunch, ctypes.c_void_p).value
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
