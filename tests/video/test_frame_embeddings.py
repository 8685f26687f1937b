"""What a session keeps of an encoded frame, and what it gives of it."""

import numpy as np
from segrid._image import to_image

from tests.video.clips import drawn

CLIP = [drawn(i) for i in range(6)]
CLICK = {"points": [[[10, 20]]], "labels": [[1]]}


def test_the_embedding_of_a_frame_is_that_of_the_segmenter(tracker):
    """The session has followed one of the frames, another was prompted, the third was neither."""
    with tracker.open(CLIP) as session:
        session.add(1, frame=0, points=[[10, 20]])
        list(session.propagate(frames=3))
        for frame in (3, 0, 5):
            own, expected = session.embedding(frame), tracker.segmenter.encode(CLIP[frame])
            assert hash(own) == hash(expected) and own.nbytes == expected.nbytes
            found, wanted = (tracker.segmenter.predict(e, **CLICK) for e in (own, expected))
            assert np.array_equal(found.low_res, wanted.low_res)


def test_a_frame_holds_its_features_alone_until_something_decodes_it(tracker):
    engine = tracker.segmenter._engine
    image = to_image(CLIP[0])
    frame, whole = engine.encode_frame(image), engine.encode(image)
    features = sum(f.nbytes for f in frame.own_features)
    no_memory = 4 * frame.features[0].shape[1]
    assert frame.nbytes == features + no_memory
    assert engine.prepared(frame).nbytes == whole.nbytes > 2 * frame.nbytes
    assert frame.nbytes == features + no_memory


def test_room_is_made_before_a_frame_is_encoded(tracker, monkeypatch):
    """While a frame is encoded, the embeddings of at most one other frame are kept."""
    held = []
    with tracker.open(CLIP) as session:
        encode = session._engine.encode_frame

        class Watched:
            def __getattr__(self, name):
                return getattr(tracker.segmenter._engine, name)

            def encode_frame(self, image):
                held.append(len(session._embeddings))
                return encode(image)

        monkeypatch.setattr(session, "_engine", Watched())
        session.add(1, frame=0, points=[[10, 20]])
        list(session.propagate())
    assert held == [0, *[1] * (len(CLIP) - 1)]
