"""One process for each thread, each with its own Segmenter on one thread: the pool that users build
around a library."""

import multiprocessing

STATE = {}


def begin(model, options):
    import segrid

    segrid.set_threads(1)
    STATE.update(model=segrid.Segmenter(model, precision="fp32", device="cpu"), options=options)


def one(path):
    return len(
        STATE["model"]
        .everything(path, containment_thresh=1.0, crop_containment_thresh=1.0, **STATE["options"])
        .rle
    )


class Subject:
    begin, one = staticmethod(begin), staticmethod(one)

    def __init__(self, model, threads, options):
        self.pool = multiprocessing.get_context("spawn").Pool(threads, self.begin, (model, options))

    def run(self, paths):
        return self.pool.map(self.one, paths, chunksize=1)

    def close(self):
        self.pool.terminate()
