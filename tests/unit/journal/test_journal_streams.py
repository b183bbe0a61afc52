from __future__ import annotations

import random

from rayflume.interfaces import StreamPosition
from rayflume.journal.streams import Streams


def test_streams_are_a_mapping() -> None:
    streams = Streams([("b", StreamPosition(1))])
    streams["a"] = StreamPosition(2)
    assert streams == {"a": StreamPosition(2), "b": StreamPosition(1)}
    assert ("a" in streams, "c" in streams, len(streams)) == (True, False, 2)
    del streams["b"]
    assert (list(streams), streams.get("b")) == (["a"], None)


def test_names_are_found_by_their_beginning_whatever_came_and_went() -> None:
    streams, rng = Streams(), random.Random(1)
    for _ in range(60):
        for _ in range(rng.choice([1, 1, 3, 1_500])):
            name = f"{rng.randrange(4)}/{rng.randrange(5_000)}"
            if name in streams and rng.random() < 0.7:
                del streams[name]
            else:
                streams[name] = StreamPosition(1)
        for prefix in ("", "0/", "3/12", "4", "0"):
            assert streams.beginning(prefix) == sorted(n for n in streams if n.startswith(prefix))
