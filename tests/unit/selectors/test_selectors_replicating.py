"""The replicating selector."""

from __future__ import annotations

from rayflume.batch import EventBatch, Extent
from rayflume.selectors.replicating import Replicating


def test_l1_every_channel_gets_the_same_batch_with_all_extents() -> None:
    batch = EventBatch.from_events([b"a"], (), (Extent("s", 0, 1, 1), Extent("t", 5, 9, 0)))
    shares = Replicating(optional=("b",)).select(batch, ["a", "b", "c"])
    assert [(share.channel, share.required) for share in shares] == [
        ("a", True),
        ("b", False),
        ("c", True),
    ]
    assert all(share.batch is batch for share in shares)


def test_required_are_all_but_the_optional() -> None:
    assert Replicating().required(["a", "b"]) == ["a", "b"]
    assert Replicating(optional=("a",)).required(["a", "b"]) == ["b"]


def test_optional_must_name_channels_of_the_source_and_leave_one() -> None:
    selector = Replicating(optional=("wall",))
    assert selector.check_channels(["wal", "x"]) == [
        "`optional` names 'wall', which is no channel of this source; did you mean 'wal'?"
    ]
    assert len(Replicating(optional=("a",)).check_channels(["a"])) == 1
    assert Replicating(optional=("a",)).check_channels(["a", "b"]) == []
