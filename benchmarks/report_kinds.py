"""The same measures on each kind of processor that results have been kept of."""

from benchmarks.report_text import RESULTS, load, prose, table

TITLES = {
    "avx512-amx": "AVX-512 and AMX",
    "avx512": "AVX-512",
    "avx2-vnni": "AVX2 and VNNI",
    "avx2": "AVX2",
}


def _ratio(result, *path):
    """How many times as long as segrid the peer takes, from a result's "ratio"."""

    def cell(kind):
        found = load(result, kind)["ratio"]
        for name in path:
            found = found[name]
        return f"{found:.1f} x"

    return cell


def _video(result, precision, place):
    def cell(kind):
        rows = load(result, kind)["rows"]
        ours, theirs = (
            rows[f"{name}, {place}"]["median"] for name in (f"segrid@{precision}", "sam2@fp32")
        )
        return f"{theirs / ours:.1f} x"

    return cell


def _int8(kind):
    rows = load("precisions-vit_b", kind)["rows"]
    return f"{rows['segrid@fp32']['median'] / rows['segrid@int8']['median']:.1f} x"


def _products(kind):
    gemm = load("gemm", kind)
    shares = [100 * r["fp32"] / gemm["peak"] for r in gemm["rows"] if r["shape"][0] >= 64]
    return f"{min(shares):.0f} to {max(shares):.0f} %"


def _busy(kind):
    stages = load("folder-unlike", kind)["rows"]["folder_stream"]["stages"]
    return f"{100 * stages['busy']:.0f} %"


STEPS, VIDEO = "steps-vit_b-fp32-1800x1200", "video-sam2.1_hiera_t"
MEASURES = (
    (
        "segment everything, ViT-B, against segment-anything",
        _ratio("everything-vit_b-fp32-1800x1200", "segment_anything"),
    ),
    ("ViT-B's encoder, against OpenVINO", _ratio(STEPS, "encode", "openvino")),
    ("decoder, 64 prompts, against OpenVINO", _ratio(STEPS, "decode", "openvino")),
    ("one click, against OpenVINO", _ratio(STEPS, "click", "openvino")),
    (
        "OWLv2 base, one prompt, against transformers",
        _ratio("detect-owlv2-base-fp32", "1 prompt"),
    ),
    ("a frame of video, 1 object, against sam2", _video(VIDEO, "fp32", "1 object")),
    (
        "the same, 4 objects",
        _video(f"{VIDEO}-4-objects", "fp32", "4 objects"),
    ),
    ("ViT-B's encoder in int8, against our fp32", _int8),
    ("products: share of a core's peak", _products),
    ("eight images from 256 to 3000 pixels: threads busy", _busy),
)


def processors():
    """One row for each measure, one column for each kind of processor."""
    kinds = [kind for kind in TITLES if (RESULTS / kind).is_dir()]

    def cell(measure, kind):
        try:
            return measure(kind)
        except FileNotFoundError:
            return ""

    models = {}
    for kind in kinds:
        cpus = {
            f"{r['cpu']['model']}, family {r['cpu']['family']}"
            for r in (load(path.stem, kind) for path in (RESULTS / kind).glob("*.json"))
        }
        models[TITLES[kind]] = "; ".join(sorted(cpus))
    rows = [(what, *(cell(measure, kind) for kind in kinds)) for what, measure in MEASURES]
    return [
        prose(
            "Ratios differ between kinds of processors. All in fp32 but the row of int8. "
            + " ".join(f"{title}: {cpus}." for title, cpus in models.items())
            + " An empty cell was not measured. Most figures are of single runs."
        ),
        "",
        *table(("", *(TITLES[kind] for kind in kinds)), rows),
        "",
    ]
