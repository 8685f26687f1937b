"""segrid.stream: one process with the engine's threads."""


class Subject:
    def __init__(self, model, threads, options):
        import segrid

        segrid.set_threads(threads)
        self.model, self.options = segrid.Segmenter(model, precision="fp32", device="cpu"), options

    def run(self, paths):
        import segrid

        results = segrid.stream(
            self.model,
            paths,
            consume=lambda one, pixels: one.result.rle,
            containment_thresh=1.0,
            crop_containment_thresh=1.0,
            **self.options,
        )
        counts = []
        for one in results:
            counts.append(len(one.output))
            self.done = len(counts)
        return counts

    def close(self):
        pass
