"""segrid.stream: one process with the engine's threads."""


class Subject:
    def __init__(self, model, threads, options, device="cpu", precision="fp32"):
        import segrid

        segrid.set_threads(threads)
        self.model = segrid.Segmenter(model, precision=precision, device=device)
        self.precision = self.model.precision
        self.options = options

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
        self.seconds = {"read": 0.0, "compute": 0.0, "write": 0.0}
        for one in results:
            if one.error is not None:
                raise one.error
            counts.append(len(one.output))
            self.done = len(counts)
            for step, spent in one.seconds.items():
                self.seconds[step] += spent
        return counts

    def shares(self):
        """The shares of the last run's images' seconds that were spent on each step."""
        whole = sum(self.seconds.values())
        return {step: spent / whole for step, spent in self.seconds.items()}

    def close(self):
        pass
