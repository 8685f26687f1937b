"""sam2's video predictor with vos_optimized=True: its parts compiled by torch.compile."""

from benchmarks.subjects import sam2_video


class Subject(sam2_video.Subject):
    compiled = True
