"""Cameras: frames that are pushed one by one, for ever."""

import numpy as np
import pytest

from tests.video.clips import drawn
from tests.video.test_session import CLICK, CLIP, FRAMES, equal, low_res, opened


def test_a_camera_gives_what_a_file_gives(tracker):
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        expected = low_res(session.propagate())
    live = tracker.live()
    assert live.add(1, points=CLICK) is None and live.index == -1
    assert equal([(f.index, f.low_res) for f in map(live.step_frame, CLIP)], expected)
    assert live.index == FRAMES - 1
    late = live.add(2, boxes=[5, 5, 40, 30])
    assert len(late) == 2 and len(live.step(CLIP[0])) == 2
    with pytest.raises(ValueError, match="step: frame 25 has 64 x 64 pixels"):
        live.step(drawn(0, (64, 64)))
    live.remove(1)
    assert len(live.step(CLIP[0])) == 1 and live.index == 25
    live.reset()
    assert len(live.step(CLIP[0])) == 0


def test_prompts_of_a_camera_wait_for_its_first_frame(tracker):
    live = tracker.live()
    live.add(1, points=CLICK, name="kept")
    live.add(2, points=[[500, 500]], name="too far")
    live.add(3, boxes=[5, 5, 40, 30])
    live.add(4, points=CLICK)
    live.remove(4)
    with pytest.raises(ValueError, match="object 2, which waited for the first frame, does not"):
        live.step(CLIP[0])
    assert live.index == -1 and live.ids == []
    first = live.step_frame(CLIP[0])
    assert first.index == 0 and first.ids == [1, 3] and live.names == {1: "kept"}
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        session.add(3, boxes=[5, 5, 40, 30])
        assert equal([(0, first.low_res)], low_res(session.propagate(frames=0)))
    early = tracker.live()
    early.add(1, points=CLICK)
    early.clear(1)
    assert len(early.step(CLIP[0])) == 0
    for call in (tracker.live().clear, tracker.live().remove, early.remove):
        with pytest.raises(ValueError, match="no object has the id 7; the objects are none"):
            call(7)


def test_a_camera_takes_prompts_as_a_file_does(tracker):
    """anywhere=True accepts all that sam2 accepts, with anew=True the clicks count alone."""

    def refined(**how):
        live = tracker.live()
        live.add(1, points=CLICK)
        for image in CLIP[:3]:
            live.step(image)
        return live.add(1, points=[[60, 40]], labels=[0], **how).low_res

    with opened(tracker) as session:
        session.add(1, points=CLICK)
        list(session.propagate(frames=2))
        wanted = session.add(1, 2, points=[[60, 40]], labels=[0], anew=True).low_res
    assert np.array_equal(refined(anew=True), wanted)
    assert not np.array_equal(refined(), wanted)
    live = tracker.live()
    live.add(1, points=[[500, -3]], labels=[7], anywhere=True)  # it waits
    live.step(CLIP[0])
    assert len(live.add(2, mask=np.ones((3, 3), bool), anywhere=True)) == 2


def test_a_closed_camera_takes_no_more_frames(tracker):
    with tracker.live() as live:
        live.step(drawn(0))
    for call in (lambda: live.step(drawn(1)), lambda: live.add(1, points=[[20, 20]])):
        with pytest.raises(ValueError, match="this session is closed; open another one"):
            call()


def test_a_camera_keeps_nothing_that_no_later_frame_looks_at(tracker):
    live = tracker.live()
    live.add(1, points=CLICK)
    sizes = []
    for i in range(60):
        live.step(CLIP[i % FRAMES])
        sizes.append(len(live._native.tracked_frames))
    assert max(sizes) == sizes[30] == sizes[-1] <= 20


@pytest.mark.parametrize("condition", [False, True])
def test_a_camera_that_is_prompted_for_ever_keeps_the_prompts_that_count(tracker, condition):
    """The masks are those of a camera that keeps everything."""

    def prompted(**options):
        live = tracker.live(
            conditioning_frames=3, corrections_condition=condition, pointers=8, **options
        )
        live.add(1, points=CLICK)
        seen = []
        for i in range(50):
            seen.append((i, live.step_frame(CLIP[i % FRAMES]).low_res))
            live.add(1, points=CLICK)
        [track] = live._native.state()
        return [len(track[kept]) for kept in ("prompts", "masks", "visited")], seen

    small, masks = prompted()
    whole, wanted = prompted(keep_masks=True)
    assert equal(masks, wanted)
    assert min(whole) >= 50 and max(small) <= 14
