"""The figures of folders of images."""

from benchmarks.report_text import commands, load, prose, runs

OURS, POOL, PEER = "folder_stream", "folder_processes", "folder_segment_anything"
RUN = "folder --repeat 1"


def readme_rows():
    """(task, peer, ratio, command), where both subjects were timed for the same images."""
    r = load("folder", images=200)
    if "compared" in r:
        what = f"{r['compared']} images of a folder, `tiny`, fp32"
        yield what, "a pool of segment-anything processes", r["ratio"][PEER], RUN


def folders():
    """A folder of images against process pools, and its memory over thousands."""
    r, own, long = load("folder", images=200), load("folder-own"), load("folder-long")
    rows, stages = r["rows"], long["rows"][OURS]["stages"]
    same = "as many" if rows[POOL]["count"] == rows[OURS]["count"] else "other"
    # In `own` no process holds what made the pictures.
    beside_pool, beside_peer = (1 / body["memory"][p] for body, p in ((own, POOL), (r, PEER)))
    got = rows[PEER]["stages"]["images"]
    return [
        prose(
            f"A folder of {r['images']} mixed images (packaged model, fp32): a pool of processes "
            f"around our own `Segmenter` takes {r['ratio'][POOL]:.2f} times as long as "
            f"`segrid.stream`, with {same} masks. {against_the_peer(r)} `segrid.stream` keeps the "
            f"threads busy for {100 * rows[OURS]['stages']['busy']:.0f} % of the time. It needs "
            f"{beside_pool:.2f} of the memory of the pool around `Segmenter` (PSS, both over "
            f"{own['images']} of the images), and over all {r['images']} images "
            f"{beside_peer:.2f} of the memory of segment-anything's pool over {got:.0f}. Over "
            f"{long['images']} images ({long['options']['points_per_side']} points a side) its "
            f"memory stays where it was: {stages['MB around image 100']:.0f} MB around image 100, "
            f"{stages['MB around the last']:.0f} MB around the last. {runs(r, own, long)}"
        ),
        *commands(
            RUN,
            f"folder --count {own['images']} --subjects {OURS} {POOL} --name folder-own",
            f"folder --repeat 1 --count {long['images']} --points "
            f"{long['options']['points_per_side']} --subjects {OURS} --name folder-long",
        ),
    ]


def against_the_peer(r):
    """The time of segment-anything's pool. Results before the one with "compared" have its time for
    the first images only, and ours for all."""
    if "compared" in r:
        return (
            f"A pool of segment-anything processes takes {r['ratio'][PEER]:.0f} times as long for "
            f"the same {r['compared']} images."
        )
    ours, theirs = (r["rows"][s] for s in (OURS, PEER))
    return (
        f"A pool of segment-anything processes took {theirs['median']:.1f} s an image, but it got "
        f"only the first {theirs['stages']['images']:.0f} images, which are larger than the "
        f"average; `segrid.stream` took {ours['median']:.2f} s an image over all of them, so the "
        "two times have no ratio."
    )
