"""What a file in a lake says of itself: the keys of its key-value metadata, and their bounds.

Sinks write them, maintenance reads and merges them, and any row can be traced to its source by
them. They are on disk: a key is never given another meaning.
"""

from __future__ import annotations

PREFIX = "rayflume."
"""All keys begin so; others are not rayflume's."""
AGENT = "rayflume.agent"
SINK = "rayflume.sink"
WRITER = "rayflume.version"
"""The release of rayflume that wrote the file."""
SCHEMA_VERSION = "rayflume.schema_version"
"""The number of the agreed schema; 0 or none: there was none."""
DELIVERY = "rayflume.delivery"
RANGES = "rayflume.ranges"
"""JSON, `[[start, stop], ...]`: the journal rows among which the file's rows were chosen."""
MERGED = "rayflume.merged"
"""Of a merged file, JSON: delivery (or journal) -> RANGES, of all files it was made of."""
STREAMS = "rayflume.streams"
"""JSON: stream -> the ranges `[start, end)` of what was read of it, in the stream's own units."""

STREAMS_MAX = 64
"""So many streams are named at most; rows of all others are OTHER_STREAMS'."""
RANGES_MAX = 16
"""So many ranges a stream has at most; the last are joined over the gap between them."""
OTHER_STREAMS = "*"
"""Further streams, and requests with an idempotency key: each of these is a stream of its own. It
has no ranges.
"""
