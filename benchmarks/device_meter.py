"""How busy a GPU is, and how much of its memory torch takes, while something runs."""

import threading
import time


class DeviceMeter:
    """with DeviceMeter("cuda") as meter: ...

    busy : afterwards the share of the time, from 0 to 1, in which the GPU ran a kernel (NVML's
        utilisation, which the driver averages over a sixth of a second or more)
    peak_mb : afterwards the peak of torch's memory on it, in MB of 10^6 bytes, of all tensors that
        were there before
    Both stay None on the CPU."""

    def __init__(self, device):
        self.busy = self.peak_mb = None
        self._device = device if device.startswith("cuda") else None
        self._samples, self._stop = [], threading.Event()

    def __enter__(self):
        if self._device:
            import pynvml
            import torch

            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            pynvml.nvmlInit()
            index = torch.device(self._device).index or 0
            self._thread = threading.Thread(target=self._sample, args=(pynvml, index), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_):
        if self._device:
            import torch

            self._stop.set()
            self._thread.join()
            self.peak_mb = torch.cuda.max_memory_allocated(self._device) / 1e6
            if self._samples:
                self.busy = sum(self._samples) / len(self._samples) / 100

    def _sample(self, nvml, index):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        while not self._stop.is_set():
            self._samples.append(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            time.sleep(0.02)


def limit_memory(device, gigabytes):
    """Lets torch take at most so many GB (10^9 bytes) of the GPU's memory, as if it had no more.

    Raises ValueError for the CPU, whose memory torch does not limit."""
    if not device.startswith("cuda"):
        raise ValueError(f"limit_memory: needs a CUDA device, got {device!r}")
    import torch

    index = torch.device(device).index or 0
    total = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gigabytes * 1e9 / total), index)


def ran_out(error):
    """Whether the exception says that memory ran out."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
