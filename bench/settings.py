"""What all contenders share: schema, codec, block and row group sizes."""

from __future__ import annotations

CODEC = "snappy"
BLOCK_BYTES = 8 * 2**20
ROW_GROUP_BYTES = 16 * 2**20
SCHEMA = {
    "user_id": "int64",
    "session_id": "string",
    "ts": "timestamp_ms",
    "event": "string",
    "url": "string",
    "referrer": "string",
    "user_agent": "string",
    "country": "string",
    "dwell_ms": "int64",
    "price": "double",
}
