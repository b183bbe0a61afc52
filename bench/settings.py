"""What all contenders share: codec, block and row group sizes. Only the standard library: every
environment of the bench reads it.
"""

from __future__ import annotations

from typing import Literal

CODEC: Literal["snappy"] = "snappy"
BLOCK_BYTES = 8 * 2**20
ROW_GROUP_BYTES = 16 * 2**20
"""Decoded bytes that rayflume and the bare processes gather for a row group."""
PROCESSES = 2
"""Worker processes, or threads of a tool that has one process: as many as there are cores."""
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
WIDE_SCHEMA = {
    "ts": "timestamp_ms",
    **{f"i{i:02}": "int64" for i in range(35)},
    **{f"d{i:02}": "double" for i in range(25)},
    **{f"s{i:02}": "string" for i in range(30)},
    **{f"b{i:02}": "boolean" for i in range(9)},
}
"""A hundred fields."""
