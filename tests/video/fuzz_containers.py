"""Opens mutations of video files in a process of limited memory: fuzz_containers.py COUNT FILES.

It prints how many gave errors, how many could be read to their end, the seconds that the slowest
took, and the process's peak memory in MiB. An error that no video should give ends it.
"""

import random
import resource
import sys
import time
import warnings
from pathlib import Path

from segrid.measuring.memory import resident_mb
from segrid.video.frames import FrameNotFound
from segrid.video.sources import open_frames

MEMORY = 3 << 30  # bytes of addresses, of which the libraries take 1.5 GB
MOST_FRAMES = 2000  # more than any mutation of these clips holds
NUMBERS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0")


def mutated(data, rng):
    data = bytearray(data)
    at = rng.randrange(len(data) - 8)
    match rng.randrange(6):
        case 0:
            del data[at:]
        case 1:
            for _ in range(rng.choice([1, 4, 30])):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:
            data[at : at + 4] = rng.choice(NUMBERS)
        case 3:
            del data[at : at + rng.randrange(1, 400)]
        case 4:
            data[at:at] = data[at : at + rng.randrange(400)]
        case 5:  # headers are at the beginning and at the end
            ends = (rng.randrange(min(len(data), 1200)), -1 - rng.randrange(min(len(data), 1200)))
            for place in ends:
                data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


def read_all(data):
    """Whether a video can be read to its end, and then backwards."""
    count = 0
    try:
        with open_frames(data) as frames:
            try:
                while count < MOST_FRAMES:
                    frames.read(count)
                    count += 1
            except FrameNotFound:
                for index in range(count - 1, -1, -5):
                    frames.read(index)
                return True
    except (ValueError, NotImplementedError, MemoryError):  # the last: a length that is absurd
        return False
    raise AssertionError(f"{MOST_FRAMES} frames and no end")


def main(count, paths):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore", UserWarning)
    clips = [Path(path).read_bytes() for path in paths]
    whole, slowest = 0, 0.0
    for seed in range(count):
        data = mutated(clips[seed % len(clips)], random.Random(seed))
        start = time.process_time()
        whole += read_all(data)
        slowest = max(slowest, time.process_time() - start)
    peak = round(resident_mb("VmHWM"))
    print(f"errors {count - whole}\nwhole {whole}\nseconds {slowest:.2f}\npeak {peak}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
