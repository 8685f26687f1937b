"""Writes the figures of docs/speed.md, the README's table and the picture of speed.md from
benchmarks/results: python -m benchmarks.report (--check: only says whether they are there)."""

import json
import sys

from benchmarks import environment, report_folders, report_video
from benchmarks.report_kinds import processors
from benchmarks.report_serve import service
from benchmarks.report_text import RESULTS, ROOT, commands, load, prose, runs, table
from benchmarks.report_video import video

PICTURE = ROOT / "docs/pictures/speed.png"
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
PHOTO = [1800, 1200]  # of all results of images, if nothing else is said
PRECISIONS = ("fp32", "bf16", "int8", "int8-torch")


def everything(model, precision):
    return load(f"everything-{model}-{precision}-1800x1200", points_per_side=32)


def steps(model, precision):
    return load(f"steps-{model}-{precision}-1800x1200")


def machine():
    """Where and when all results but those of video, of the service and of GPUs were measured."""
    r = everything("vit_b", "fp32")
    of_kind = (RESULTS / environment.kind(r["cpu"])).glob("*.json")
    paths = (path for path in of_kind if not path.stem.startswith(("video-", "serve-")))
    dates = sorted({json.loads(path.read_text())["date"] for path in paths})
    return (
        f"{r['threads']} threads of {r['cpu']['model']} (family {r['cpu']['family']}: "
        f"{', '.join(r['cpu']['isa'])}), torch {r['versions']['torch']}, {dates[0]} to {dates[-1]}"
    )


def peer_table():
    """Each stage of SAM ViT-B, and how many times as long as segrid each peer takes."""
    rows = []
    for precision in ("fp32", "bf16"):
        found = {"segment everything": everything("vit_b", precision)["ratio"]}
        found |= {STEPS[s]: of for s, of in steps("vit_b", precision)["ratio"].items()}
        of = found.pop(STEPS["postprocess"])
        if precision == "fp32":  # the same code in every precision, and in every peer but ours
            found[STEPS["postprocess"]] = {"segment_anything": of["segment_anything"]}
        for what, of in found.items():
            cells = {p: f"{of[p]:.1f} x" if p in of else "" for p in NAMES}
            cells["segment_anything"] = f"**{cells['segment_anything']}**"
            rows.append((f"{what}, {precision}", *cells.values()))
    return table(("", *NAMES.values()), rows)


FAMILIES = (
    ("vit_b", "fp32", "segment_anything", "SAM ViT-B", "segment-anything"),
    ("vit_b", "bf16", "segment_anything", "SAM ViT-B", "segment-anything, autocast"),
    ("tiny", "fp32", "segment_anything", "the packaged `tiny`", "segment-anything"),
    ("tiny", "bf16", "segment_anything", "the packaged `tiny`", "segment-anything, autocast"),
    ("sam2.1_hiera_t", "fp32", "sam2", "SAM 2.1 tiny", "sam2"),
    (
        "mobile_sam",
        "fp32",
        "mobile_sam",
        "MobileSAM",
        "its weights in segment-anything's generator",
    ),
)


def family_table():
    """Segment everything with each family, against its original."""
    rows = []
    for model, precision, peer, name, original in FAMILIES:
        r = everything(model, precision)
        a, mb = r["agreement"][peer], {s: row["memory_mb"] for s, row in r["rows"].items()}
        rows.append(
            (
                f"{name}, {precision}",
                original,
                f"**{r['ratio'][peer]:.1f} x**",
                f"{a['count'][0]} and {a['count'][1]}",
                f"{a['mean']:.4f} ({a['min']:.3f})",
                f"{mb['segrid']:.0f} and {mb[peer]:.0f}",
            )
        )
    head = ("model", "peer", "peer's time", "masks: ours, peer's", "matched IoU: mean (least)")
    return table((*head, "MB above the weights: ours, peer's"), rows)


def sam2_encoder():
    parts = []
    for precision in ("fp32", "bf16"):
        r = steps("sam2.1_hiera_t", precision)
        of, apart = r["ratio"]["encode"], r["largest difference"]["encode"]
        parts.append(
            f"in {precision} OpenVINO takes {of['sam2_openvino']:.1f} times and sam2 "
            f"{of['sam2']:.1f} times as long as segrid (largest difference of a feature from "
            f"OpenVINO's: {apart['sam2_openvino']:.0e} of the largest feature)"
        )
    return prose(f"SAM 2.1 tiny's image encoder alone: {'; '.join(parts)}.")


def detection():
    """Words to boxes against transformers."""
    full, low = (load(f"detect-owlv2-base-{p}", size=PHOTO) for p in ("fp32", "bf16"))
    a, b = full["agreement"]["16 prompts"], low["agreement"]["16 prompts"]
    apart = "largest difference of a score"
    mixed = (
        full["rows"]["transformers"]["stages"]["1 prompt"]
        / low["rows"]["segrid"]["stages"]["1 prompt"]
    )
    return prose(
        "OWLv2 base at 960 px (random weights) against transformers with its Pillow processor: "
        f"with one prompt transformers takes {full['ratio']['1 prompt']:.1f} times as long in fp32 "
        f"({a['boxes'][0]} and {a['boxes'][1]} boxes with sixteen prompts, {apart} "
        f"{a[apart]:.0e}) and {low['ratio']['1 prompt']:.1f} times as long in bf16 ({apart} "
        f"{b[apart]:.0e}); transformers' fp32 takes {mixed:.1f} times as long as segrid's bf16. "
        f"Sixteen prompts take segrid {full['16 prompts over 1']:.2f} times as long as one; "
        "transformers' zero-shot pipeline with sixteen labels takes "
        f"{full['ratio']['zero-shot pipeline, 16 labels']:.0f} times as long as segrid. "
        f"{runs(full, low)}"
    )


def boxes():
    """Boxes to masks against segment-anything."""
    r = load("boxes-vit_b-fp32", size=PHOTO)
    a = r["agreement"]["segment_anything"]
    return prose(
        "Twenty boxes on an encoded image (ViT-B, fp32) to masks of 1800 x 1200: segment-anything "
        f"takes {r['ratio']['segment_anything']:.1f} times as long (IoU mean {a['iou mean']:.6f}, "
        f"least {a['iou least']:.6f}). {runs(r)}"
    )


def precision_table():
    """What each precision brings and costs: the encoder of ViT-B here, the masks of the packaged
    model on pictures it was not trained on."""
    r = load("precisions-vit_b")
    losses = json.loads((ROOT / "python/segrid/models/tiny/segrid.json").read_text())["precision"]
    losses["fp32"] = {"iou_mean": 1, "ap50_loss": 0}
    cells = {
        p: (f"{loss['iou_mean']:.3f}", f"{100 * loss['ap50_loss']:.1f} points")
        for p, loss in losses.items()
    }
    rows = []
    for p in PRECISIONS:
        row = r["rows"][f"segrid@{p}"]
        if "error" in row:
            speed, weights = "this CPU has no instructions for it", ""
        else:
            faster = r["rows"]["segrid@fp32"]["median"] / row["median"]
            speed, weights = f"{faster:.2f} x as fast as fp32", f"{r['weights'][f'segrid@{p}']:.2f}"
        rows.append((p, speed, weights, *cells.get(p, ("", ""))))
    rows.append(("fp16, on CUDA", "not measured yet", "", *cells["fp16"]))
    head = ("precision", "ViT-B's encoder", "weights in memory", "masks of `tiny`: IoU with fp32's")
    return table((*head, "masks of `tiny`: AP50 lost"), rows)


def precision_peers():
    body = load("precisions-vit_b", size=PHOTO)
    rows = body["rows"]
    seconds = {s: row["median"] for s, row in rows.items() if "error" not in row}
    int8 = seconds["segrid@int8"]
    peers = [
        f"OpenVINO's {p} takes {theirs / int8:.1f} times as long as segrid's int8 and "
        f"{theirs / seconds[f'segrid@{p}']:.1f} times as long as segrid's {p}"
        for p, theirs in ((p, seconds.get(f"openvino@{p}")) for p in ("fp32", "bf16"))
        if theirs is not None and f"segrid@{p}" in seconds
    ]
    linears = {p: rows[f"segrid@{p}"]["stages"]["linears"] for p in ("int8", "int8-torch")}
    return prose(
        "The masks are the worse of kept-out nuclei and procedural scenes, by `python -m "
        "training.price` (for fp16 with `--device cpu-plain`, which runs CUDA's definitions). "
        "`int8-torch` is LibTorch's own dynamic quantisation in the same engine, with everything "
        "else in fp32; in the stages with the Linear layers it takes "
        f"{linears['int8-torch'] / linears['int8']:.2f} times as long as int8. {'; '.join(peers)}. "
        f"{runs(body)}"
    )


def limits():
    """How far threads, memory and matrix products go."""
    slow, fast = (
        load(f"everything-vit_b-{n}")["rows"]["segrid"] for n in ("1-thread", "2-threads")
    )
    large, gemm = load("everything-vit_b-fp32-8660x5774")["rows"]["segrid"], load("gemm")
    tiles = [r for r in gemm["rows"] if r["shape"][0] >= 64]
    low, high, torch_low, torch_high = (
        100 * f(r[name] for r in tiles) / gemm["peak"]
        for name in ("fp32", "torch")
        for f in (min, max)
    )
    decoder = slow["stages"]["decode"] / fast["stages"]["decode"]
    return [
        f"- From 1 to 2 threads the decoder becomes {decoder:.2f} times as fast, the whole "
        f"{slow['median'] / fast['median']:.2f} times.",
        f"- A 50-megapixel image takes {large['memory_mb']:.0f} MB above the weights, of which "
        f"{8660 * 5774 * 3 / 2**20:.0f} MB are the image itself.",
        f"- Matrix products reach {low:.0f} to {high:.0f} % of a core's fp32 peak (torch's own: "
        f"{torch_low:.0f} to {torch_high:.0f} %).",
        *commands(
            "everything --model vit_b --subjects segrid --threads 1 "
            "--name everything-vit_b-1-thread",
            "everything --model vit_b --subjects segrid --name everything-vit_b-2-threads",
            "everything --model vit_b --size 8660 5774 --nms 0.7 --subjects segrid "
            "--name everything-vit_b-fp32-8660x5774",
            "gemm",
        )[:-1],
    ]


def stages():
    measured = [of("vit_b", p) for of in (everything, steps) for p in ("fp32", "bf16")]
    side = measured[0]["options"]["points_per_side"]
    return [
        prose(
            f"{side} x {side} points on a photo of 1800 x 1200 pixels, masks as COCO RLE. "
            f"{runs(*measured)} The table says how many times as long as segrid each peer takes:"
        ),
        "",
        *peer_table(),
        "",
        f"![Seconds of the encoder and of the decoder]({PICTURE.relative_to(ROOT / 'docs')})",
        *commands(
            "everything --model vit_b",
            "everything --model vit_b --precision bf16",
            "steps --model vit_b --subjects segrid segment_anything openvino onnxruntime "
            "transformers",
            "steps --model vit_b --precision bf16 --subjects segrid segment_anything openvino",
        ),
    ]


def families():
    measured = [everything(model, precision) for model, precision, *_ in FAMILIES]
    return [
        prose(
            f"The same photo and grid. {runs(*measured)} The peer's time is in multiples of "
            "segrid's:"
        ),
        "",
        *family_table(),
        "",
        sam2_encoder(),
        *commands(
            "everything --model tiny",
            "everything --model tiny --precision bf16",
            "everything --model sam2.1_hiera_t",
            "everything --model mobile_sam",
            "steps --model sam2.1_hiera_t --subjects segrid sam2_openvino sam2",
            "steps --model sam2.1_hiera_t --precision bf16 --subjects segrid sam2_openvino sam2",
        ),
    ]


def precisions():
    run = commands("precisions --model vit_b --subjects segrid openvino")
    return [*precision_table(), "", precision_peers(), *run]


def speed_page():
    """The figures of docs/speed.md."""
    text = (
        f"All figures but those of video and of the service: {machine()}. Weights are random "
        "(seeded), except those of `tiny` and `tiny-video`."
    )
    return [
        prose(text),
        *("", "### The stages of SAM ViT-B", "", *stages()),
        *("### Segment everything, family by family", "", *families()),
        *("### Words", "", detection(), *commands("detect", "detect --precision bf16")),
        *("### Boxes", "", boxes(), *commands("boxes --model vit_b")),
        *("### Folders", "", *report_folders.folders()),
        *("### Video", "", *video()),
        *("### The service", "", *service()),
        *("### Precisions", "", *precisions()),
        *("### Limits", "", *limits()),
        *("", "### On other processors", "", *processors()[:-1]),
    ]


def readme():
    """The README's table."""
    words, steps_of_vit_b = load("detect-owlv2-base-fp32", size=PHOTO), steps("vit_b", "fp32")
    found = [
        (
            f"segment everything, {name}, {precision}",
            peer,
            everything(model, precision)["ratio"][subject],
            f"everything --model {model}{more}",
        )
        for model, precision, subject, name, peer, more in (
            ("vit_b", "fp32", "segment_anything", "SAM ViT-B", "segment-anything", ""),
            (
                "vit_b",
                "bf16",
                "segment_anything",
                "SAM ViT-B",
                "segment-anything",
                " --precision bf16",
            ),
            ("sam2.1_hiera_t", "fp32", "sam2", "SAM 2.1 tiny", "sam2", ""),
        )
    ]
    encoder = steps_of_vit_b["ratio"]["encode"]["openvino"]
    measured = [everything("vit_b", "fp32"), everything("vit_b", "bf16"), words, steps_of_vit_b]
    measured += [everything("sam2.1_hiera_t", "fp32"), *report_video.measured()]
    found += [
        (
            "image encoder, SAM ViT-B, fp32",
            "OpenVINO",
            encoder,
            "steps --model vit_b --subjects segrid openvino",
        ),
        ("one prompt, OWLv2 base, fp32", "transformers", words["ratio"]["1 prompt"], "detect"),
        *report_folders.readme_rows(),
        *report_video.readme_rows(),
    ]
    rows = [
        (what, peer, f"{ratio:.1f} x", f"`python -m benchmarks.run {command}`")
        for what, peer, ratio, command in found
    ]
    return [
        prose(
            "A peer at 20 x takes 20 times as long as segrid for the same work. Weights are "
            f"random, except those of `tiny`. {runs(*measured)} "
            f"Video: {report_video.where(*report_video.measured())}. All others: {machine()}."
        ),
        "",
        *table(("task", "peer", "peer's time", "command"), rows),
    ]


PAGES = {"README.md": readme, "docs/speed.md": speed_page}


def replaced(text, lines):
    """The page with these lines between its marks."""
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:begin] + "\n" + "\n".join(lines) + "\n\n" + text[end:]


def main():
    for page, lines in PAGES.items():
        path = ROOT / page
        text = path.read_text()
        new = replaced(text, lines())
        if "--check" not in sys.argv:
            path.write_text(new)
        elif new != text:
            raise SystemExit(
                f"{page}: the figures are not those of benchmarks/results; write them with "
                "python -m benchmarks.report"
            )
    if "--check" not in sys.argv:
        from benchmarks.speed_picture import draw  # needs matplotlib

        results = {p: steps("vit_b", p)["rows"] for p in ("fp32", "bf16")}
        draw(results, {s: STEPS[s] for s in ("encode", "decode")}, NAMES, PICTURE)


if __name__ == "__main__":
    main()
