"""The figures of the service."""

from benchmarks.problems.serve import PNG
from benchmarks.report_text import commands, load, prose, runs, table
from benchmarks.report_video import where

LOAD, MEMORY = "serve-tiny-fp32", "serve-memory"
PEER = "segment_anything"


def service():
    """Clicks, followed frames and memory of `segrid serve`, beside a service as people write it."""
    body = load(LOAD, model="tiny", video_model="tiny", size=[1800, 1200], precision="fp32")
    memory = load(MEMORY, model="tiny", video_model="tiny-video")
    ours, theirs = (body["rows"][name]["stages"] for name in ("segrid", PEER))
    clients = max(int(name.split()[2]) for name in ours if name.startswith("click p50"))
    own = ours["click, engine alone"]
    frames = theirs["frame, engine alone"] / ours["frame, engine alone"]

    def row(what, name, as_text):
        return (what, as_text(ours[name]), as_text(theirs[name]))

    at_once = f"{clients} clients"
    rows = [
        row("a click, one client: median", "click p50, 1 clients", milliseconds),
        row(f"a click, {at_once} without a pause: median", f"click p50, {at_once}", milliseconds),
        row("the same: 99th percentile", f"click p99, {at_once}", milliseconds),
        row("clicks a second, all together", f"clicks per second, {at_once}", "{:.0f}".format),
        row("users per core, each a click in two seconds", "users per core", "{:.0f}".format),
        row("a click, engine alone", "click, engine alone", milliseconds),
        row("a frame of video, SAM 2.1 tiny", "frame, served", milliseconds),
        row("a frame of video, engine alone", "frame, engine alone", milliseconds),
    ]
    load_facts = memory["rows"]["segrid"]["stages"]
    return [
        prose(
            f"`tiny` in fp32 on a photo of 1800 x 1200, and one object on a clip of "
            f"{body['frames']} frames with SAM 2.1 tiny (random weights), {where(body)}. The load "
            "comes from a second process on the same cores. The other service is written with "
            f"FastAPI around segment-anything and sam2, as people write it. {runs(body)}"
        ),
        "",
        *table(("", "segrid serve", "FastAPI with the originals"), rows),
        "",
        prose(
            "The answers to a click differ: ours has three masks as run lengths, the peer's one "
            f"mask as an 8-bit PNG of 1800 x 1200, {png(theirs)}. The peer's service adds to its "
            f"frames, too: its engine alone takes {frames:.1f} times as long as ours, served it "
            f"takes {theirs['frame, served'] / ours['frame, served']:.1f} times as long."
        ),
        "",
        prose(
            f"The engine alone takes {own * 1000:.1f} ms for this click, so the service adds "
            f"{(ours['click p50, 1 clients'] - own) * 1000:.1f} ms. {clients} clients that click "
            f"without a pause wait for each other: {clients} clicks of the engine in a row take "
            f"{clients * own * 1000:.0f} ms. The service changes the time of a followed frame by "
            f"{100 * (ours['frame, served'] / ours['frame, engine alone'] - 1):+.0f} % against the "
            f"engine alone. In {memory['minutes']:g} minutes of mixed load (four clients "
            "that encode and click, one that opens and follows videos with `tiny-video`) the "
            f"server's memory went, as its caches filled, from {load_facts['MB at first']:.0f} to "
            f"{load_facts['MB at last']:.0f} MB, by {load_facts['MB per minute']:+.2f} MB a minute "
            "in the second half. That run shared its cores with other work, so its load was "
            "lighter than on a quiet machine."
        ),
        *commands(
            f"serve --minutes 0 --seconds 15 --frames 12 --name {LOAD}",
            f"serve --subjects segrid --video-model tiny-video --minutes {memory['minutes']:g} "
            f"--seconds 5 --name {MEMORY}",
        ),
    ]


def png(theirs):
    """What the peer's PNG costs, in words. Results before the one with its time have no figure."""
    if PNG in theirs:
        return f"which takes {milliseconds(theirs[PNG])} to make"
    return "and the time to make it, which was not measured by itself, is in its figure"


def milliseconds(seconds):
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"
