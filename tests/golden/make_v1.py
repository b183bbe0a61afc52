"""Write `journal_v1.bin`: one record of every kind, as version 1 lays it out.

Run once, when a version is released; the bytes are never made anew afterwards.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from rayflume.batch import EventBatch, Extent
from rayflume.interfaces import Manifest, StagedFile
from rayflume.journal.segment import (
    Head,
    Kind,
    encode,
    extents_to_json,
    manifest_to_json,
)

GOLDEN = Path(__file__).with_name("journal_v1.bin")
JOURNAL = "00112233445566aa"
DELIVERY = f"{JOURNAL}-3-1"
EXTENTS = (
    Extent("host/web/8-15/0", 10, 25, 2, b"\x00token\xff"),
    Extent("ab" * 16, 0, 1, 1, bytes(range(16)), keyed=True),
)
BODIES = [b"first", None, b""]
HEADERS = [{"host": "a"}, {}, {"host": "b", "level": "\N{SNOWMAN}"}]
STAGED = StagedFile(
    "dt=2026-11-22/part-1.parquet", {"upload": "u", "parts": [1, 2]}, 4096, 2, ((7, 10),), 4
)
MANIFEST = Manifest(DELIVERY, "lake", (STAGED,), 3, 1, 1, 1, {"host/web/8-15/0": (1000, 2000)}, 5)
STATE = {
    "journal": JOURNAL,
    "next_position": 7,
    "streams": {"s": [9, "AA==", None], "old": [3, "", 1700000000000]},
    "keys": [[1700000000000, "AAECAwQFBgcICQoLDA0ODw==", "AAAAAAAAAAAAAAAAAAAAAA=="]],
    "unfinished": [[5, 7]],
    "prepared": [],
}


def records() -> list[tuple[Head, bytes]]:
    """Head and body of every record, in the order of the file."""
    payload = EventBatch.from_events(BODIES, HEADERS).encode().to_pybytes()
    state = json.dumps(STATE, separators=(",", ":")).encode()
    put = {"rows": [7, 10], "extents": extents_to_json(EXTENTS), "source": "web", "now": 1}
    put |= {"skip": "as told"}
    metas: list[tuple[Kind, dict[str, object], bytes]] = [
        (Kind.SEGMENT, {"journal": JOURNAL, "number": 2, "ends": {"segment-1.log": 640}}, b""),
        (Kind.SNAPSHOT, {}, state),
        (Kind.PUT, put, payload),
        (Kind.PREPARED, manifest_to_json(MANIFEST, ((7, 10),)), b""),
        (Kind.COMMITTED, {"delivery": DELIVERY, "ranges": [[7, 10]]}, b""),
        (Kind.REVOKED, {"delivery": f"{JOURNAL}-3-2"}, b""),
        (Kind.RETIRED, {"streams": ["s"], "now": 1700000000001}, b""),
        (Kind.MARK, {"next": 10}, b""),
    ]
    return [
        (Head(kind, 3, 40 + i, 39 + i // 2, 0, len(body), zlib.crc32(body), meta), body)
        for i, (kind, meta, body) in enumerate(metas)
    ]


def main() -> None:
    pieces = [bytes(piece) for head, body in records() for piece in encode(head, body)]
    GOLDEN.write_bytes(b"".join(pieces))


if __name__ == "__main__":
    main()
