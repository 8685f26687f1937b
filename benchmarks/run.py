r"""Runs one problem of benchmarks/problems and writes benchmarks/results/NAME.json.

python -m benchmarks.run everything --model vit_b --repeat 1
python -m benchmarks.run steps --model vit_b --subjects segrid segment_anything openvino
python -m benchmarks.run precisions --model vit_b --subjects segrid openvino
python -m benchmarks.run detect --precision bf16
python -m benchmarks.run boxes --model vit_b
python -m benchmarks.run folder --repeat 1
python -m benchmarks.run folder --repeat 1 --count 120 \
    --subjects folder_stream folder_processes --name folder-own
python -m benchmarks.run folder --repeat 1 --count 2000 --points 12 \
    --subjects folder_stream --name folder-long
python -m benchmarks.run gemm
python -m benchmarks.run everything --model vit_b --device cuda --precision fp16
    (boxes, too; segment-anything then runs on the same device)

Models: vit_b, mobile_sam, sam2.1_hiera_t (seeded random weights; problems/everything.py chooses
their thresholds) or tiny (the packaged model).
"""

import argparse
from importlib import import_module

PROBLEMS = ("everything", "steps", "precisions", "detect", "boxes", "folder", "gemm")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--size", type=int, nargs=2, default=[1800, 1200], metavar=("W", "H"))
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument(
        "--device",
        default="cpu",
        help="of everything and boxes, for segrid, segment_anything and sam2: cpu, cuda, cpu-plain",
    )
    parser.add_argument("--nms", type=float, default=1.0, help="box_nms_thresh of random weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--subjects",
        nargs="+",
        default=["segrid", "segment_anything"],
        help="segrid first; then segment_anything, openvino, onnxruntime, transformers (steps "
        "only); for SAM 2 sam2, sam2_openvino (steps only); for folder "
        "folder_stream, folder_processes, folder_segment_anything (default: all)",
    )
    parser.add_argument("--count", type=int, default=200, help="images of folder")
    parser.add_argument("--name", help="of the result file")
    a = parser.parse_args()
    import_module(f"benchmarks.problems.{a.problem}").run(a)


if __name__ == "__main__":
    main()
