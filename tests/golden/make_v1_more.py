"""Write `journal_v1_more.bin`: what version 1 lays out and `journal_v1.bin` has not.

Dead letters and a poisonous row in a manifest, a Snapshot with an open delivery, a Put without rows
and one with keyed rows alone. Run once; the bytes are never made anew afterwards.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from rayflume.batch import EventBatch, Extent
from rayflume.interfaces import Manifest, StagedFile
from rayflume.journal.segment import Head, Kind, encode, extents_to_json, manifest_to_json

GOLDEN = Path(__file__).with_name("journal_v1_more.bin")
JOURNAL = "ffeeddccbbaa0099"
DELIVERY = f"{JOURNAL}-7-3"
REASON = "its holder died too often: not decoded"
LAKE = StagedFile("part-a.parquet", {"staged": "a", "begun_ms": 5}, 100, 3, ((0, 2), (3, 4)), 2)
DEAD = StagedFile("_rayflume/dead_letters/b.dead", {"staged": "b"}, 50, 1, ((2, 3),), 0, True)
POISON = StagedFile(
    "_rayflume/dead_letters/c.dead", {"staged": "c", "poison": REASON}, 40, 1, ((4, 5),), 0, True
)
MANIFEST = Manifest(DELIVERY, "lake", (LAKE, DEAD, POISON), 5, 3, 2, 0, {"*": (-5, 2**41)}, 12)
OPEN = Manifest(f"{JOURNAL}-6-1", "other", (), 2, 0, 0, 2)
STATE = {
    "journal": JOURNAL,
    "next_position": 7,
    "streams": {"h/s/8-15/0": [2**53, "", None]},
    "keys": [[1700000000000, "", ""]],
    "unfinished": [[0, 7]],
    "prepared": [manifest_to_json(OPEN, ((5, 7),))],
}
KEYED = (Extent("cd" * 16, 0, 2, 2, bytes(range(16, 32)), keyed=True),)
NO_ROWS = (Extent("h/s/8-15/0", 2**53, 2**53 + 9, 0, b""),)


def records() -> list[tuple[Head, bytes]]:
    """Head and body of every record, in the order of the file."""
    none = EventBatch.from_events([]).encode().to_pybytes()
    two = EventBatch.from_events([b"\xff", None]).encode().to_pybytes()
    state = json.dumps(STATE, separators=(",", ":")).encode()
    ends = {"segment-0000000001.log": 0, "segment-0000000003.log": 2**40}
    metas: list[tuple[Kind, dict[str, object], bytes]] = [
        (Kind.SEGMENT, {"journal": JOURNAL, "number": 4, "ends": ends}, b""),
        (Kind.SNAPSHOT, {}, state),
        (Kind.PUT, _put((7, 7), NO_ROWS), none),
        (Kind.PUT, _put((7, 9), KEYED), two),
        (Kind.PREPARED, manifest_to_json(MANIFEST, ((0, 5),)), b""),
        (Kind.MARK, {"next": 9}, b""),
    ]
    return [
        (Head(kind, 7, 2**33 + i, 2**33 + i - 1, 0, len(body), zlib.crc32(body), meta), body)
        for i, (kind, meta, body) in enumerate(metas)
    ]


def _put(rows: tuple[int, int], extents: tuple[Extent, ...]) -> dict[str, object]:
    return {"rows": list(rows), "extents": extents_to_json(extents), "source": "web", "now": 9}


def main() -> None:
    pieces = [bytes(piece) for head, body in records() for piece in encode(head, body)]
    GOLDEN.write_bytes(b"".join(pieces))


if __name__ == "__main__":
    main()
