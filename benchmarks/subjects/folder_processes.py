"""One process for each thread, each with its own Segmenter on one thread: the pool that users build
around a library."""

import multiprocessing

STATE = {}


def begin(model, options, precision):
    import segrid

    segrid.set_threads(1)
    STATE.update(model=segrid.Segmenter(model, precision=precision, device="cpu"), options=options)


def one(path):
    return len(
        STATE["model"]
        .everything(path, containment_thresh=1.0, crop_containment_thresh=1.0, **STATE["options"])
        .rle
    )


class Subject:
    begin, one = staticmethod(begin), staticmethod(one)

    def __init__(self, model, threads, options, precision="fp32"):
        context = multiprocessing.get_context("spawn")
        self.pool = context.Pool(threads, self.begin, (model, options, precision))

    def run(self, paths):
        return self.pool.map(self.one, paths, chunksize=1)

    def close(self):
        self.pool.terminate()
