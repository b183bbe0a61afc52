"""Write `journal_v1_complete.bin`: what version 1 lays out for partitions that are complete.

A Snapshot with event times and partitions, a manifest with the ends of its partitions, a seal, and
what was marked. Run once; the bytes are never made anew afterwards.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from rayflume.batch import EventBatch, Extent
from rayflume.interfaces import Manifest, StagedFile
from rayflume.journal.segment import Head, Kind, encode, extents_to_json, manifest_to_json

GOLDEN = Path(__file__).with_name("journal_v1_complete.bin")
JOURNAL = "ffeeddccbbaa0099"
DELIVERY = f"{JOURNAL}-7-3"
STREAM = "host/web/8-15/0"
HOUR = 3_600_000
FILE = StagedFile("hour=02/part-a.parquet", {"staged": "a", "begun_ms": 5}, 100, 2, ((5, 7),), 1)
MANIFEST = Manifest(
    DELIVERY, "lake", (FILE,), 2, 2, 0, 0, {STREAM: (7_200_000, 9_000_000)}, 1,
    {"hour=02": 3 * HOUR},
)  # fmt: skip
LAKE = {
    "reached": 4_000_000,
    "sealed": HOUR,
    "open": {"hour=01": [2 * HOUR, 9, 2]},
    "complete": [["hour=00", HOUR, 3, 1, f"{JOURNAL}-{HOUR}"]],
    "late": [["hour=00", HOUR, 1, 1, f"{JOURNAL}-6-9"]],
}
STATE: dict[str, object] = {
    "journal": JOURNAL,
    "time": None,
    "next_position": 5,
    "streams": {STREAM: [40, "", None]},
    "keys": [],
    "unfinished": [],
    "prepared": [],
    "complete": {
        "prefix": 5,
        "streams": {STREAM: [7_000_000, 0, 5], "host/web": [None, 1, 4]},
        "sources": {"host/web": [7_000_000, 5]},
        "pending": [[5, {STREAM: 7_100_000}]],
        "retiring": [[5, "host/web"]],
        "lakes": {"lake": LAKE},
    },
}
EXTENTS = (Extent(STREAM, 40, 60, 2),)


def records() -> list[tuple[Head, bytes]]:
    """Head and body of every record, in the order of the file."""
    two = EventBatch.from_events([b"a", b"b"]).encode().to_pybytes()
    state = json.dumps(STATE, separators=(",", ":")).encode()
    put = {"rows": [5, 7], "extents": extents_to_json(EXTENTS), "source": "host/web", "now": 9}
    metas: list[tuple[Kind, dict[str, object], bytes]] = [
        (Kind.SEGMENT, {"journal": JOURNAL, "number": 2, "ends": {}}, b""),
        (Kind.SNAPSHOT, {}, state),
        (Kind.PUT, put, two),
        (Kind.PREPARED, manifest_to_json(MANIFEST, ((5, 7),)), b""),
        (Kind.COMMITTED, {"delivery": DELIVERY, "ranges": [[5, 7]]}, b""),
        (Kind.COMPLETE, {"sink": "lake", "until": 2 * HOUR, "reached": 9_000_000}, b""),
        (Kind.COMPLETE, {"sink": "lake", "marked": ["hour=00"], "late": []}, b""),
        (Kind.MARK, {"next": 7}, b""),
    ]
    return [
        (Head(kind, 7, 50 + i, 49 + i, 0, len(body), zlib.crc32(body), meta), body)
        for i, (kind, meta, body) in enumerate(metas)
    ]


def main() -> None:
    pieces = [bytes(piece) for head, body in records() for piece in encode(head, body)]
    GOLDEN.write_bytes(b"".join(pieces))


if __name__ == "__main__":
    main()
