"""Writes the README's figures from benchmarks/results: python -m benchmarks.report (--check: only
says whether they are there)."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
BEGIN, END = "<!-- figures: python -m benchmarks.report -->\n", "<!-- end of figures -->\n"
NAMES = {
    "segment_anything": "segment-anything",
    "openvino": "OpenVINO",
    "onnxruntime": "onnxruntime",
    "transformers": "transformers",
}
STEPS = {
    "encode": "image encoder",
    "decode": "decoder, 64 prompts of 3 masks",
    "click": "one click on an encoded image",
    "postprocess": "logits of 192 masks to stability, boxes and COCO RLE",
}


def load(name):
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def ratios(precision):
    """{what: {peer: ratio}} of one precision."""
    rows = {}
    whole, steps = (
        load(f"everything-vit_b-{precision}-1800x1200"),
        load(f"steps-vit_b-{precision}-1800x1200"),
    )
    if whole:
        rows["segment everything"] = whole["ratio"]
    for stage, of in (steps or {"ratio": {}})["ratio"].items():
        if stage != "postprocess":
            rows[STEPS[stage]] = of
        elif precision == "fp32":  # the same code in every precision, and in every peer but ours
            rows[STEPS[stage]] = {"segment_anything": of["segment_anything"]}
    return rows


def agreement_lines():
    lines = []
    for model, precision in (
        ("vit_b", "fp32"),
        ("vit_b", "bf16"),
        ("tiny", "fp32"),
        ("tiny", "bf16"),
    ):
        r = load(f"everything-{model}-{precision}-1800x1200")
        if r:
            a = r["agreement"]["segment_anything"]
            lines.append(
                f"{'ViT-B' if model == 'vit_b' else 'the packaged model'} in {precision} "
                f"{a['count'][0]} and {a['count'][1]} masks, matched IoU mean "
                f"{a['mean']:.4f}, least {a['min']:.3f}, {r['ratio']['segment_anything']:.1f} x"
            )
    return "Masks of everything, ours and segment-anything's: " + "; ".join(lines) + "."


FAMILIES = (
    ("sam2.1_hiera_t", "sam2", "SAM 2.1 tiny against sam2's generator"),
    ("mobile_sam", "mobile_sam", "MobileSAM against its weights in segment-anything's generator"),
)


def family_lines():
    """Segment everything with the other families, each against its original."""
    for model, peer, text in FAMILIES:
        r = load(f"everything-{model}-fp32-1800x1200")
        if r:
            a, mb = r["agreement"][peer], {s: row["memory_mb"] for s, row in r["rows"].items()}
            yield (
                f"{text}, the same photo and grid, fp32: {r['ratio'][peer]:.1f} x, {a['count'][0]} "
                f"and {a['count'][1]} masks, matched IoU mean {a['mean']:.4f}, "
                f"least {a['min']:.3f}, {mb['segrid']:.0f} MB above the weights against "
                f"{mb[peer]:.0f} MB."
            )


def sam2_steps():
    """The encoder of SAM 2.1 against OpenVINO's."""
    parts = []
    for precision in ("fp32", "bf16"):
        r = load(f"steps-sam2.1_hiera_t-{precision}-1800x1200")
        if r:
            of, apart = r["ratio"]["encode"], r["largest difference"]["encode"]
            parts.append(
                f"{precision} OpenVINO {of['sam2_openvino']:.1f} x, sam2 {of['sam2']:.1f} x as "
                "long as segrid (largest difference of a feature "
                f"{apart['sam2_openvino']:.0e} of the largest)"
            )
    return [f"SAM 2.1 tiny's image encoder: {'; '.join(parts)}."] if parts else []


def detection_lines():
    """Words to boxes against transformers, boxes to masks against segment-anything."""
    full, low, boxes = (
        load("detect-owlv2-base-fp32"),
        load("detect-owlv2-base-bf16"),
        load("boxes-vit_b-fp32"),
    )
    if full:
        a = full["agreement"]["16 prompts"]
        text = (
            "OWLv2 base at 960 px on the same photo (random weights; transformers' Pillow "
            f"processor): transformers takes {full['ratio']['1 prompt']:.1f} x as "
            f"long with one prompt in fp32 ({a['boxes'][0]} and {a['boxes'][1]} boxes, largest "
            f"difference of a score {a['largest difference of a score']:.0e})"
        )
        if low:
            whole = (
                full["rows"]["transformers"]["stages"]["1 prompt"]
                / low["rows"]["segrid"]["stages"]["1 prompt"]
            )
            text += (
                f", {low['ratio']['1 prompt']:.1f} x in bf16 (its fp32 {whole:.1f} x as long as "
                "our bf16, whose scores differ from its bf16's by at most "
                f"{low['agreement']['16 prompts']['largest difference of a score']:.0e})"
            )
        yield (
            f"{text}; sixteen prompts cost {full['16 prompts over 1']:.2f} x of one, "
            f"{full['ratio']['zero-shot pipeline, 16 labels']:.0f} x less than its zero-shot "
            "pipeline with sixteen labels."
        )
    if boxes:
        a = boxes["agreement"]["segment_anything"]
        yield (
            "Twenty boxes on an image that is encoded (ViT-B, fp32) to masks of 1800 x 1200: "
            f"segment-anything takes {boxes['ratio']['segment_anything']:.1f} x "
            f"as long (IoU mean {a['iou mean']:.6f}, least {a['iou least']:.6f})."
        )


def folder_lines():
    """A folder of images against process pools, and its memory over thousands."""
    r, own, long = load("folder"), load("folder-own"), load("folder-long")
    if r:
        rows, times = r["rows"], r["ratio"]
        # In `own` no process of the pool holds what made the pictures.
        memory = r["memory"] | (own["memory"] if own else {})
        ours, pool, peer = "folder_stream", "folder_processes", "folder_segment_anything"
        same = "the same" if rows[pool]["count"] == rows[ours]["count"] else "other"
        of = f", over {own['images']} of them" if own else ""
        yield (
            f"A folder of {r['images']} mixed images (packaged model, fp32): a pool of "
            f"segment-anything processes takes {times[peer]:.0f} x as long as "
            f"`segrid.stream`, a pool around our own Segmenter {times[pool]:.2f} x with {same} "
            f"masks; stream takes {1 / memory[pool]:.2f} of the latter's memory "
            f"(PSS{of}), {1 / memory[peer]:.2f} of the former's, and keeps the threads busy for "
            f"{100 * rows[ours]['stages']['busy']:.0f} % of the time."
        )
    if long:
        s = long["rows"]["folder_stream"]["stages"]
        yield (
            f"Over {long['images']} images its memory stays where it was: "
            f"{s['MB around image 100']:.0f} MB around image 100, {s['MB around the last']:.0f} MB "
            "around the last."
        )


PRECISIONS = ("fp32", "bf16", "int8", "int8-torch")


def precision_table():
    """What each precision brings and costs: the encoder of ViT-B here, the masks of the packaged
    model on pictures it was not trained on."""
    r = load("precisions-vit_b")
    if not r:
        return []
    losses = json.loads((ROOT / "python/segrid/models/tiny/segrid.json").read_text())["precision"]
    seconds = {s: row["median"] for s, row in r["rows"].items() if "error" not in row}
    ours = {p: seconds[f"segrid@{p}"] for p in PRECISIONS if f"segrid@{p}" in seconds}
    lines = [
        "",
        "| precision | ViT-B's encoder | weights in memory | masks of `tiny` against fp32's: IoU "
        "mean | AP50 lost |",
        "|---|---|---|---|---|",
    ]
    for p in PRECISIONS:
        loss = losses.get(p)
        cells = (
            ["1", "0"]
            if p == "fp32"
            else [f"{loss['iou_mean']:.3f}", f"{100 * loss['ap50_loss']:.1f} points"]
            if loss
            else ["", ""]
        )
        if p not in ours:
            lines.append(f"| {p} | this CPU has no instructions for it | | {' | '.join(cells)} |")
            continue
        lines.append(
            f"| {p} | {ours['fp32'] / ours[p]:.2f} x as fast as fp32 | "
            f"{r['weights'][f'segrid@{p}']:.2f} | {' | '.join(cells)} |"
        )
    if loss := losses.get("fp16"):
        lines.append(
            f"| fp16, on CUDA | not measured yet | | {loss['iou_mean']:.3f} | "
            f"{100 * loss['ap50_loss']:.1f} points |"
        )
    theirs = {p: seconds[f"openvino@{p}"] for p in ("fp32", "bf16") if f"openvino@{p}" in seconds}
    peers = [
        f"OpenVINO's {p} takes {t / ours['int8']:.1f} times as long as int8, {t / ours[p]:.1f} "
        "times as long as ours"
        for p, t in theirs.items()
        if p in ours
    ]
    linears = {p: r["rows"][f"segrid@{p}"]["stages"]["linears"] for p in ("int8", "int8-torch")}
    lines += [
        "",
        "(The worse of kept-out nuclei and procedural scenes: `python -m training.price`, for fp16 "
        "with `--device cpu-plain`, which runs CUDA's definitions; the encoder: "
        "`python -m benchmarks.run precisions --model vit_b --subjects segrid openvino`.) "
        "int8-torch is LibTorch's own dynamic quantisation in the same engine, all else in fp32; "
        "in the stages with the Linear layers it takes "
        f"{linears['int8-torch'] / linears['int8']:.2f} times as long as int8. {'; '.join(peers)}.",
        "",
    ]
    return lines


def peer_table():
    """What was run, and how many times as long as segrid each peer takes."""
    first = load("everything-vit_b-fp32-1800x1200")
    side = first["options"]["points_per_side"]
    lines = [
        f"ViT-B (seeded random weights), {side} x {side} points, a 1800 x 1200 photo, masks as "
        f"COCO RLE, {first['threads']} threads of "
        f"{first['cpu']['model']} (family {first['cpu']['family']}: "
        f"{', '.join(first['cpu']['isa'])}), torch {first['versions']['torch']}, "
        f"{first['date']}. How many times as long as segrid each peer takes:",
        "",
        "| | " + " | ".join(NAMES.values()) + " |",
        "|---" * (len(NAMES) + 1) + "|",
    ]
    for precision in ("fp32", "bf16"):
        for what, of in ratios(precision).items():
            cells = [
                f"**{of[p]:.1f} x**"
                if p == "segment_anything"
                else f"{of[p]:.1f} x"
                if p in of
                else ""
                for p in NAMES
            ]
            lines.append(f"| {what}, {precision} | " + " | ".join(cells) + " |")
    return lines


def limit_lines():
    """How far threads, memory and matrix products go."""
    one, two, large, gemm = (
        load(n)
        for n in (
            "everything-vit_b-1-thread",
            "everything-vit_b-2-threads",
            "everything-vit_b-fp32-8660x5774",
            "gemm",
        )
    )
    if one and two:
        slow, fast = one["rows"]["segrid"], two["rows"]["segrid"]
        yield (
            "From 1 to 2 threads the decoder becomes "
            f"{slow['stages']['decode'] / fast['stages']['decode']:.2f} times as fast, the whole "
            f"{slow['median'] / fast['median']:.2f} times."
        )
    if large:
        yield (
            f"A 50-megapixel image takes {large['rows']['segrid']['memory_mb']:.0f} MB above the "
            f"weights, its own {8660 * 5774 * 3 / 2**20:.0f} MB included."
        )
    if gemm:
        tiles = [r for r in gemm["rows"] if r["shape"][0] >= 64]
        low, high = (f(r["fp32"] for r in tiles) / gemm["peak"] for f in (min, max))
        yield (
            f"Matrix products reach {100 * low:.0f} to {100 * high:.0f} % of a core's fp32 peak "
            f"(torch's own: {100 * min(r['torch'] for r in tiles) / gemm['peak']:.0f} to "
            f"{100 * max(r['torch'] for r in tiles) / gemm['peak']:.0f} %)."
        )


def block():
    """The README's figures, from the first mark to the last."""
    lines = [
        BEGIN.rstrip("\n"),
        "",
        *peer_table(),
        "",
        agreement_lines(),
        *family_lines(),
        *detection_lines(),
        *folder_lines(),
        *sam2_steps(),
        *precision_table(),
        *limit_lines(),
        "",
        "![Seconds per step, ours and the peers'](docs/speed.png)",
        "",
        END.rstrip("\n"),
    ]
    return "\n".join(lines) + "\n"


def picture(target):
    """Bars of seconds: the steps of ViT-B in both precisions."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [
        (s, [(p, load(f"steps-vit_b-{p}-1800x1200")) for p in ("fp32", "bf16")])
        for s in ("encode", "decode")
    ]
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
    for ax, (stage, results) in zip(axes, panels, strict=True):
        bars = [
            (f"{NAMES.get(s, s)}, {p}", r["rows"][s]["stages"][stage], s == "segrid")
            for p, r in results
            if r
            for s in r["rows"]
        ]
        bars.sort(key=lambda b: b[1])
        ax.barh(
            [b[0] for b in bars],
            [b[1] for b in bars],
            color=["#d1495b" if b[2] else "#9aa5b1" for b in bars],
        )
        ax.bar_label(ax.containers[0], fmt="%.2f s", padding=3)
        ax.invert_yaxis()
        ax.margins(x=0.18)
        ax.set_title(STEPS[stage])
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("seconds")
    figure.tight_layout(w_pad=2.5)
    figure.savefig(target, dpi=110)


def replaced(text):
    begin, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:begin] + block() + text[end:]


if __name__ == "__main__":
    readme = ROOT / "README.md"
    text = readme.read_text()
    new = replaced(text)
    if "--check" in sys.argv:
        raise SystemExit(
            0
            if new == text
            else "the README's figures are not those of benchmarks/results: "
            "python -m benchmarks.report"
        )
    readme.write_text(new)
    picture(ROOT / "docs/speed.png")
