"""segrid's Tracker."""


class Subject:
    def __init__(self, model, threads, precision="fp32", device="cpu"):
        import segrid

        segrid.set_threads(threads)
        self.tracker = segrid.Tracker(model, precision=precision, device=device)
        self.precision = self.tracker.precision

    def open(self, frames):
        self.session = self.tracker.open(list(frames))

    def add(self, id, box):
        """The masks of all objects in the first frame, (n, H, W) bool."""
        return self.session.add(id, boxes=box).array

    def follow(self):
        """The masks of all objects, frame after frame."""
        for frame in self.session.propagate():
            yield frame.masks.array
