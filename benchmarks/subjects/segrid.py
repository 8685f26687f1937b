"""segrid, through its public classes."""


class Subject:
    def __init__(self, model, threads):
        import segrid

        segrid.set_threads(threads)
        self.model = segrid.Segmenter(model, precision="fp32")

    def warm_up(self, image):
        self.model.everything(image[:64, :64], points_per_side=1, containment_thresh=1.0)

    def everything(self, image, options):
        masks = self.model.everything(image, containment_thresh=1.0, **options)
        return masks.uncompressed_rle, masks.stats["seconds"]
