"""Write `journal_v2_sealed.bin`: a Put as version 2 lays it out, its rows sealed with a key.

Run once; the bytes are never made anew afterwards (the nonce would be another).
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from isal.isal_zlib import crc32

from rayflume.batch import EventBatch, Extent
from rayflume.journal.sealing import Sealing
from rayflume.journal.segment import Head, Kind, Meta, encode, extents_to_json

GOLDEN = Path(__file__).with_name("journal_v2_sealed.bin")
KEYS = {"k1": bytes(range(32))}
BODIES = [b"sealed \xff", b""]
EXTENTS = (Extent("host/web/8-15/0", 40, 60, 2, b"token"),)
META: Meta = {
    "rows": [5, 7], "extents": extents_to_json(EXTENTS), "source": "host/web", "now": 9,
}  # fmt: skip


def main() -> None:
    payload = EventBatch.from_events(BODIES, [{"host": "a"}, {}]).encode()
    body, meta = Sealing("k1", KEYS).seal(payload, META)
    head = Head(Kind.PUT, 7, 52, 51, 0, len(body), crc32(body), meta)
    GOLDEN.write_bytes(b"".join(pa.py_buffer(piece).to_pybytes() for piece in encode(head, body)))


if __name__ == "__main__":
    main()
