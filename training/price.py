"""Measures the cost of bf16 and int8 on pictures kept out of training, and writes the table in
segrid.json by which precision="auto" decides:
`python -m training.price FOLDER --data DATA --write`.

fp16 runs on devices: `--device cuda` measures it there, `--device cpu-plain` measures the same
definitions on the CPU (slowly).

The pictures are kept-out nuclei frames and fixed scenes, as in evaluate.py; `segrid.compare`
compares with fp32. For each precision the worse of both sets counts: the mean and the least IoU of
matched masks, and the points of AP50 lost."""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import segrid
from PIL import Image
from segrid import _core

from .data import Folder, held_out
from .evaluate import scenes_kept, spread

PRECISIONS = {"cpu": ("fp32", "bf16", "int8"), "device": ("fp32", "fp16", "bf16")}


def written(pictures, folder):
    """Writes images and label maps of the outermost targets, and returns the paths of the
    images."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for i, picture in enumerate(pictures):
        groups = [set(t) for t in picture.targets]
        labels = np.zeros(picture.labels.shape, np.uint16)
        for number, target in enumerate(
            t for t in picture.targets if not any(set(t) < g for g in groups)
        ):
            labels[picture.mask(target)] = number + 1
        Image.fromarray(picture.image).save(folder / "images" / f"{i:03}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{i:03}.png")
    return sorted((folder / "images").iterdir())


def price(model, data, frames, scenes, device):
    """{set: [PrecisionResult as a dict]}."""
    sets = {
        "nuclei": spread(Folder(Path(data) / "nuclei_dsb2018", held_out), frames),
        "scenes": scenes_kept(scenes),
    }
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, pictures in sets.items():
            place = Path(scratch) / name
            files = written(pictures, place)
            result = segrid.compare(
                files,
                model=model,
                device=device,
                precisions=PRECISIONS.get(device, PRECISIONS["device"]),
                labels=place / "labels",
            )
            found[name] = result.results
            for r in result.results:
                print(
                    f"{name}, {r.precision}: AP50 {r.ap50:.4f}, {r.masks} masks, lost {r.lost}, "
                    f"new {r.new}, IoU "
                    f"mean {r.iou_mean:.4f}, least {r.iou_min:.3f}, encode "
                    f"{r.seconds['encode']:.3f} s, total "
                    f"{r.seconds['total']:.3f} s"
                )
    return found


def table(found):
    """The table for segrid.json."""
    rows = {}
    for precision in sorted(
        {r.precision for results in found.values() for r in results} - {"fp32"}
    ):
        pairs = [
            (results[0], next((r for r in results if r.precision == precision), None))
            for results in found.values()
        ]
        if any(low is None for _, low in pairs):
            continue
        rows[row_of(precision)] = {
            "iou_mean": round(min(low.iou_mean for _, low in pairs), 4),
            "iou_min": round(min(low.iou_min for _, low in pairs), 4),
            "ap50_loss": round(max(full.ap50 - low.ap50 for full, low in pairs), 4),
        }
    return rows


def row_of(precision):
    """The name of a row. Without VNNI, int8 has other weights, and so a row of its own
    (src/kernels/gemm/panel.h)."""
    return "int8-narrow" if precision == "int8" and _core.int8_is_narrow() else precision


def keep(folder, rows):
    """Writes the table into the folder's segrid.json. Entries of precisions that this CPU lacks
    stay."""
    file = Path(folder) / "segrid.json"
    kept = json.loads(file.read_text())
    file.write_text(
        json.dumps(kept | {"precision": kept.get("precision", {}) | rows}, indent=1) + "\n"
    )


def main():
    """Command line."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", type=Path)
    p.add_argument("--data", required=True)
    p.add_argument("--frames", type=int, default=36)
    p.add_argument(
        "--scenes",
        type=int,
        default=96,
        help="as many masks as the frames have: 32 have 280, of which three decide on a point",
    )
    p.add_argument("--write", action="store_true", help="into FOLDER/segrid.json")
    p.add_argument("--device", default="cpu")
    args = p.parse_args()
    rows = table(price(args.folder, args.data, args.frames, args.scenes, args.device))
    print(json.dumps(rows))
    if args.device != "cpu":
        rows.pop("bf16", None)  # The table keeps bf16 of the CPU's kernels, which round less.
    if args.write:
        keep(args.folder, rows)


if __name__ == "__main__":
    main()
