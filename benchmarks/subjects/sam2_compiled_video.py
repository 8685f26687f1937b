"""sam2's video predictor with vos_optimized=True: its parts are compiled by torch.compile. The
first calls compile, which takes many minutes on a CPU and is counted in the first mask."""

from benchmarks.subjects import sam2_video


class Subject(sam2_video.Subject):
    compiled = True
