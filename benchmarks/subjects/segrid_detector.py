"""segrid's detector through its public class."""


class Subject:
    def __init__(self, model, threads, precision="fp32", device="cpu"):
        import segrid

        segrid.set_threads(threads)
        self.model = segrid.Detector(model, precision=precision, device=device)
        self.precision = self.model.precision

    def detect(self, image, prompts, threshold):
        found = self.model.detect(image, prompts, threshold=threshold)
        return found.scores, found.boxes
