"""segment-anything's SamAutomaticMaskGenerator on the same weights, fp32."""


class Subject:
    def __init__(self, model, threads):
        import torch

        from benchmarks.random_sam import to_segment_anything

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = to_segment_anything(model)

    def warm_up(self, image):
        from segment_anything import SamPredictor

        predictor = SamPredictor(self.model)
        predictor.set_image(image[:64, :64])

    def everything(self, image, options):
        from segment_anything import SamAutomaticMaskGenerator

        records = SamAutomaticMaskGenerator(self.model, output_mode="uncompressed_rle", **options).generate(image)
        return [r["segmentation"] for r in records], {}
