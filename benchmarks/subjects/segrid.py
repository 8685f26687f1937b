"""segrid through its public classes; the scan alone through the test hooks."""


class Subject:
    def __init__(self, model, threads, precision="fp32", device="cpu"):
        import segrid

        segrid.set_threads(threads)
        self.model = segrid.Segmenter(model, precision=precision, device=device)
        self.precision = self.model.precision

    def warm_up(self, image):
        self.model.everything(
            image[:64, :64], points_per_side=1, containment_thresh=1.0, crop_containment_thresh=1.0
        )

    def everything(self, image, options):
        masks = self.model.everything(image, containment_thresh=1.0, **options)
        return masks.rle, masks.stats["seconds"]

    def encode(self, image):
        self.embedding = self.model.encode(image)
        return self.embedding.features

    def linears(self, image):
        """Seconds of one thread in the stages that hold the encoder's Linear layers."""
        import segrid

        with segrid.Trace() as trace:
            self.encode(image)
        seconds = trace.seconds()
        return (seconds["qkv"] + seconds["mlp"]) / segrid.threads()

    def decode(self, points):
        """Three masks per point, up to runs and boxes."""
        return self.model.predict(self.embedding, points=points, multimask=True).low_res

    def beyond_decoding(self, points):
        """Seconds of decode() in which the workers turn logits into runs and boxes."""
        import segrid

        with segrid.Trace() as trace:
            self.decode(points)
        return trace.seconds()["scan"] / segrid.threads()

    def click(self, point):
        return self.model.predict(self.embedding, points=[[point]], multimask=True).low_res

    def boxes(self, boxes):
        """One mask for each box, (N, H, W) bool."""
        return self.model.predict(self.embedding, boxes=boxes).array

    def postprocess(self, logits, size):
        from tests.building_blocks import kernels

        h, w = size
        side = 4 * logits.shape[1]
        scale = side / max(h, w)
        found = kernels.scan_all(
            logits, side, (int(h * scale + 0.5), int(w * scale + 0.5)), size, rle=True
        )
        return [f[0] for f in found]
