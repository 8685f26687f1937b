"""The figures of following objects through video."""

from benchmarks.report_text import commands, load, prose, runs, table

NAMES = {1: "video-sam2.1_hiera_t", 4: "video-sam2.1_hiera_t-4-objects"}
PRECISIONS = ("fp32", "bf16", "int8")


RUN = "video --objects 1 --frames 11 --subjects segrid sam2"


SETTINGS_RUN = "video_settings --davis ../shared/data/davis_bsd --sequence goat"


def measured():
    """The results behind `readme_rows`."""
    return [load(NAMES[1], size=[640, 360], clip="drawn")]


def readme_rows():
    """(task, peer, ratio, command) of one object, in fp32 and in bf16."""
    rows = load(NAMES[1])["rows"]
    for precision, peer in (("fp32", "sam2"), ("bf16", "sam2, autocast")):
        ours, theirs = (
            rows[f"{name}@{precision}, 1 object"]["median"] for name in ("segrid", "sam2")
        )
        what = f"a frame of video with a full memory, SAM 2.1 tiny, {precision}"
        yield what, peer, theirs / ours, RUN


def where(body):
    """The machine of a result, and its date."""
    cpu = body["cpu"]
    return (
        f"{body['threads']} threads of {cpu['model']} ({', '.join(cpu['isa'])}), torch "
        f"{body['versions']['torch']}, {body['date']}"
    )


def video():
    """Frames with a full memory: how many times as long sam2 takes, agreement, memory."""
    results = {
        objects: load(name, size=[640, 360], clip="drawn") for objects, name in NAMES.items()
    }
    rows = []
    for objects, body in results.items():
        place = "1 object" if objects == 1 else f"{objects} objects"
        for precision in PRECISIONS:
            name = f"segrid@{precision}, {place}"
            own, agreement = body["rows"][name], body["agreement"][name]
            peers = [body["rows"][f"sam2@{p}, {place}"] for p in ("fp32", "bf16")]
            rows.append(
                (
                    f"{place}, {precision}",
                    *(f"{peer['median'] / own['median']:.1f} x" for peer in peers),
                    f"{agreement['mean']:.4f}, {agreement['min']:.4f}",
                    f"{own['memory_mb']:.0f} MB, {peers[0]['memory_mb']:.0f} MB",
                )
            )
    return [
        prose(
            f"SAM 2.1 tiny with random weights at 1024, a drawn clip of 640 x 360, frames with a "
            f"full memory, on {where(results[1])} (4 objects: {results[4]['date']}, commit "
            f"{results[4]['commit'][:7]}). The table says how many times as long as segrid sam2's "
            "own predictor takes, in fp32 and with autocast to bf16; the IoU of every frame "
            "and object with sam2's in fp32, mean and least; and the memory above the weights. "
            f"{runs(*results.values())}"
        ),
        "",
        *table(
            ("segrid", "sam2, fp32", "sam2, bf16", "IoU", "memory, sam2's"),
            rows,
        ),
        "",
        prose(
            "segrid needs fewer operations for the same masks "
            "(`src/models/sam2/memory_attention.h` says which). Two settings make it faster again: "
            "how many times as fast as the same precision without the setting, and the mean IoU "
            "with sam2's masks then, for 1 object and with these random weights. With "
            "`image_side=512` the masks are those of a smaller picture:"
        ),
        "",
        *faster(results[1]),
        *commands(
            f"{RUN} --image-side 512 --memory-pooling 2 --name {NAMES[1]}",
            "video --objects 4 --frames 9 --subjects segrid sam2 --name " + NAMES[4],
        ),
        *settings(),
    ]


def faster(body):
    """What image_side and memory_pooling bring in each precision, and the agreement then."""
    rows = []
    for setting, place in (("image_side=512", "at 512"), ("memory_pooling=2", "at pooling 2")):
        cells = []
        for precision in PRECISIONS:
            name = f"segrid@{precision}, 1 object"
            with_it, without = body["rows"].get(f"{name} {place}", {}), body["rows"][name]
            if "median" in with_it and "median" in without:
                ratio = without["median"] / with_it["median"]
                mean = body["agreement"][f"{name} {place}"]["mean"]
                cells.append(f"{ratio:.1f} x, {mean:.3f}")
            else:
                cells.append("")
        rows.append((f"`{setting}`", *cells))
    return table(("1 object", *PRECISIONS), rows)


def settings():
    """What each setting costs in masks of the trained model."""
    body = load("video-settings-tiny-video-goat")
    drawn, real = body["rows"]["drawn"], body["rows"][body["sequence"]]

    def agreement(row):
        return f"{row['j_and_f']:.3f} ({row['least']:.3f})"

    rows = [
        (f"`{name}`" if name != "none" else name, agreement(row), agreement(real[name]))
        for name, row in drawn.items()
    ]
    return [
        prose(
            "The table says what each setting costs: J&F against the masks without it (mean over "
            "frames, and the least). The model is the packaged `tiny-video`, which is trained; the "
            "clips are the demo's drawn one and every fifth frame of DAVIS' "
            f"`{body['sequence']}`, which was kept out of its training. What a setting saves "
            "depends on the model: a frame of this small one is mostly its encoder, so the times "
            f"are those of SAM 2.1 above. {where(body)}."
        ),
        "",
        *table(("setting", "drawn clip", f"`{body['sequence']}`"), rows),
        *commands(SETTINGS_RUN),
    ]
