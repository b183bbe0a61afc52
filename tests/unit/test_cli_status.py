"""What `rayflume status` says of complete partitions."""

from __future__ import annotations

from rayflume.cli.status import watermarks
from rayflume.interfaces import Json


def sink(name: str, **detail: Json) -> Json:
    return {"name": name, "kind": "sink", "detail": detail}


def test_a_line_for_each_sink_that_marks() -> None:
    far = sink(
        "lake",
        watermark="2025-11-22T14:12:00.000+00:00",
        held_by=["h/web", "i/web"],
        oldest_open_partition="dt=2025-11-22/hour=14",
    )
    new = sink("copy", watermark=None, held_by=[], oldest_open_partition=None)
    status: dict[str, Json] = {"components": [far, sink("other", delivery=None), new]}
    assert list(watermarks(status)) == [
        "sink lake: watermark 2025-11-22T14:12:00.000+00:00 (held by h/web, i/web), "
        "oldest partition not complete: dt=2025-11-22/hour=14",
        "sink copy: watermark not known yet, oldest partition not complete: none",
    ]
    assert list(watermarks({})) == []
