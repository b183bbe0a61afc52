"""EventBatch: an Arrow batch of bodies and headers, and the extents of what was read to make it.

Invariants: `sum(extent.rows) == num_rows`, extents are in row order, and nothing here touches
single rows in Python. A header that has one value for all rows is kept as that one value; so is it
in the encoded form (schema metadata).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

HEADERS_MAX = 256
"""Above so many names, the headers of a batch are one map column instead of a column per name."""
TOKEN_BYTES_MAX = 1024
JOIN_BYTES = 2**20
_CONSTANTS = b"rayflume.constants"

Header: TypeAlias = "pa.Array | str"
"""One header: a string array with a value (or null) per row, or the one value that all rows
share.
"""


@dataclass(frozen=True, slots=True)
class Extent:
    """What was read of one stream: `[start, end)` in the stream's own units, whatever is left of
    it in rows.

    `rows`: how many rows of the batch came from it (0 when a filter kept none). `token`: up to 1
    KiB that lets the source find the place again. `keyed`: the stream is one request with an
    idempotency key, `stream` is the key's hash, and `token` a digest of the request's body.
    """

    stream: str
    start: int
    end: int
    rows: int
    token: bytes = b""
    keyed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end or self.rows < 0:
            raise ValueError(f"extent out of order: {self}")
        if len(self.token) > TOKEN_BYTES_MAX:
            raise ValueError(
                f"a token has at most {TOKEN_BYTES_MAX} bytes, this one {len(self.token)}"
            )


@dataclass(frozen=True)
class EventBatch:
    """Rows of events: `body` (binary, null = tombstone), `headers` by name, `extents` in row order.

    `more` is a map<string, string> array that takes the headers when there are more than
    HEADERS_MAX names. `source`: who put them, `<host id>/<source id>`; known of rows that were
    read from a journal.
    """

    body: pa.BinaryArray
    headers: Mapping[str, Header] = field(default_factory=dict)
    extents: tuple[Extent, ...] = ()
    more: pa.MapArray | None = None
    source: str = ""

    @property
    def num_rows(self) -> int:
        return len(self.body)

    @property
    def nbytes(self) -> int:
        """Bytes of the bodies. Headers are not counted."""
        return body_bytes(self.body)

    @staticmethod
    def from_events(
        bodies: Sequence[bytes | None],
        headers: Sequence[Mapping[str, str]] = (),
        extents: tuple[Extent, ...] = (),
    ) -> EventBatch:
        """Rows from Python values, for servers and tests. `headers`: one mapping per row, or none
        at all.
        """
        body = pa.array(bodies, pa.binary())
        if not headers:
            return EventBatch(body, {}, extents)
        names = sorted({name for row in headers for name in row})
        if len(names) > HEADERS_MAX:
            more = pa.array(
                [list(row.items()) for row in headers], pa.map_(pa.string(), pa.string())
            )
            return EventBatch(body, {}, extents, more)
        columns = {
            name: pa.array([row.get(name) for row in headers], pa.string()) for name in names
        }
        return EventBatch(body, columns, extents)

    def header_names(self) -> list[str]:
        """Names of all headers that some row may have, sorted."""
        names = set(self.headers)
        if self.more is not None:
            names.update(name for name in pc.unique(self.more.keys).to_pylist() if name is not None)
        return sorted(names)

    def header(self, name: str) -> pa.StringArray:
        """The header as a string array, null where a row lacks it."""
        column = self.headers.get(name)
        if isinstance(column, str):
            return pa.repeat(pa.scalar(column, pa.string()), self.num_rows)
        if column is None:
            column = pa.nulls(self.num_rows, pa.string())
        if self.more is not None:
            column = pc.coalesce(column, pc.map_lookup(self.more, name, "last"))
        return column

    def with_header(self, name: str, value: Header, *, preserve: bool = False) -> EventBatch:
        """The same rows with one header set; `preserve` keeps values that rows already have. Raises
        TypeError for an array that is not one of strings.
        """
        if not isinstance(value, str | pa.StringArray):
            kind = f"{type(value).__name__} of {getattr(value, 'type', '?')}"
            raise TypeError(
                f"a header is a str or a pa.Array of pa.string(), not a {kind}: cast it"
            )
        if preserve and (name in self.headers or self.more is not None):
            if isinstance(self.headers.get(name), str):
                return self
            value = pc.coalesce(self.header(name), value)
        return replace(self, headers={**self.headers, name: value})

    def with_body(self, body: pa.BinaryArray) -> EventBatch:
        """The same rows with other bodies. Raises ValueError unless there is one for each, and
        TypeError for another type: what is put must be readable.
        """
        if not isinstance(body, pa.BinaryArray):
            kind = f"{type(body).__name__} of {getattr(body, 'type', '?')}"
            raise TypeError(f"bodies are a pa.Array of pa.binary(), not a {kind}: cast them")
        if len(body) != self.num_rows:
            raise ValueError(f"{len(body)} bodies for {self.num_rows} rows")
        return replace(self, body=body)

    def without_headers(self, names: Iterable[str]) -> EventBatch:
        """The same rows without these headers."""
        gone = set(names)
        if not gone.intersection(self.header_names()):
            return self
        headers = {name: value for name, value in self.headers.items() if name not in gone}
        more = None if self.more is None else _without_keys(self.more, gone)
        return replace(self, headers=headers, more=more)

    def filter(self, keep: pa.BooleanArray) -> EventBatch:
        """Only the rows where `keep` is true; the extents still cover all that was read."""
        mask = np.asarray(pc.fill_null(keep, False))
        kept = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        ends = np.cumsum([0, *(extent.rows for extent in self.extents)], dtype=np.int64)
        extents = tuple(
            replace(extent, rows=int(kept[ends[i + 1]] - kept[ends[i]]))
            for i, extent in enumerate(self.extents)
        )
        picked = self._map(lambda column: column.filter(pa.array(mask)))
        return replace(picked, extents=extents)

    def slice(self, start: int, length: int) -> EventBatch:
        """Rows `[start, start + length)`; of the extents those with rows in it, `rows` cut to what
        is left.

        For readers: what the extents cover is no longer what was read for exactly these rows.
        """
        extents, first = [], 0
        for extent in self.extents:
            inside = min(first + extent.rows, start + length) - max(first, start)
            if inside > 0:
                extents.append(replace(extent, rows=inside))
            first += extent.rows
        picked = self._map(lambda column: column.slice(start, length))
        return replace(picked, extents=tuple(extents))

    def select_extents(self, keep: Sequence[bool]) -> EventBatch:
        """Only the extents marked in `keep`, with their rows."""
        mask = np.repeat(np.array(keep, dtype=bool), [extent.rows for extent in self.extents])
        extents = tuple(e for e, kept in zip(self.extents, keep, strict=True) if kept)
        return replace(self._map(lambda column: column.filter(pa.array(mask))), extents=extents)

    def _map(self, change: Callable[[pa.Array], pa.Array]) -> EventBatch:
        headers = {k: v if isinstance(v, str) else change(v) for k, v in self.headers.items()}
        more = None if self.more is None else change(self.more)
        return replace(self, body=change(self.body), headers=headers, more=more)

    def to_arrow(self) -> pa.RecordBatch:
        """One record batch: `body`, `headers` (struct of string) and, if there, `more` (map)."""
        varying = {
            name: column for name, column in self.headers.items() if not isinstance(column, str)
        }
        constants = {name: value for name, value in self.headers.items() if isinstance(value, str)}
        columns: dict[str, pa.Array] = {"body": self.body}
        if varying:
            columns["headers"] = pa.StructArray.from_arrays(list(varying.values()), list(varying))
        if self.more is not None:
            columns["more"] = self.more
        batch = pa.record_batch(list(columns.values()), names=list(columns))
        if constants:
            batch = batch.replace_schema_metadata({_CONSTANTS: json.dumps(constants).encode()})
        return batch

    @staticmethod
    def from_arrow(batch: pa.RecordBatch, extents: tuple[Extent, ...] = ()) -> EventBatch:
        """The inverse of to_arrow. Raises ValueError for a batch of another shape."""
        names = batch.schema.names
        if "body" not in names or batch.schema.field("body").type != pa.binary():
            raise ValueError(f"not a batch of events: {batch.schema.to_string()}")
        constants = (batch.schema.metadata or {}).get(_CONSTANTS, b"{}")
        headers: dict[str, Header] = dict(json.loads(constants))
        if "headers" in names:
            column = batch.column("headers")
            headers |= zip((f.name for f in column.type), column.flatten(), strict=True)
        more = batch.column("more") if "more" in names else None
        return EventBatch(batch.column("body"), headers, extents, more)

    def encode(self) -> pa.Buffer:
        """The rows (not the extents) as one Arrow IPC stream: schema, one record batch, end."""
        batch = self.to_arrow()
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, batch.schema) as writer:
            writer.write_batch(batch)
        return out.getvalue()

    @staticmethod
    def decode(data: pa.Buffer | bytes, extents: tuple[Extent, ...] = ()) -> EventBatch:
        """The inverse of encode, without copying. Raises ValueError or pyarrow.ArrowInvalid for
        other bytes.
        """
        with pa.ipc.open_stream(data) as reader:
            return EventBatch.from_arrow(reader.read_next_batch(), extents)


def _without_keys(more: pa.MapArray, gone: Iterable[str]) -> pa.MapArray:
    """Each row's map without the entries of these keys."""
    keys, items = more.keys, more.items
    keep = np.asarray(pc.invert(pc.is_in(keys, pa.array(sorted(gone), pa.string()))))
    before = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
    # Also of a slice `keys` are all keys, and `offsets` places among all of them.
    offsets = before[np.asarray(more.offsets)].astype(np.int32)
    mask = pa.array(keep)
    return pa.MapArray.from_arrays(pa.array(offsets), keys.filter(mask), items.filter(mask))


def body_bytes(body: pa.BinaryArray) -> int:
    """Bytes of the values of a binary array, without offsets; respects slices."""
    if len(body) == 0:
        return 0
    # Asked for each small request of a server: a view by numpy takes 3 µs, this one 0.4.
    offsets = memoryview(body.buffers()[1]).cast("i")
    return int(offsets[body.offset + len(body)] - offsets[body.offset])


def body_offsets(body: pa.BinaryArray) -> npt.NDArray[np.int32]:
    """The `len + 1` offsets into the values buffer of a binary or string array, as a view."""
    buffer = body.buffers()[1]
    offsets = np.frombuffer(buffer, dtype=np.int32)
    return offsets[body.offset : body.offset + len(body) + 1]


def concat(batches: Sequence[EventBatch]) -> EventBatch:
    """All rows and extents in order. A header that only some batches have is null in the others'
    rows.
    """
    if len(batches) == 1:
        return batches[0]
    names = dict.fromkeys(name for batch in batches for name in batch.headers)
    headers: dict[str, Header] = {}
    for name in names:
        values = [batch.headers.get(name) for batch in batches]
        if all(isinstance(value, str) and value == values[0] for value in values):
            headers[name] = values[0]
        else:
            headers[name] = pa.concat_arrays([batch.header(name) for batch in batches])
    more = None
    if any(batch.more is not None for batch in batches):
        kind = pa.map_(pa.string(), pa.string())
        parts = [pa.nulls(b.num_rows, kind) if b.more is None else b.more for b in batches]
        more = pa.concat_arrays(parts)
    body = pa.concat_arrays([batch.body for batch in batches])
    extents = tuple(extent for batch in batches for extent in batch.extents)
    sources = {batch.source for batch in batches}
    return EventBatch(body, headers, extents, more, sources.pop() if len(sources) == 1 else "")


def join_small(placed: Iterable[tuple[int, EventBatch]]) -> Iterator[tuple[int, EventBatch]]:
    """(position, batch) pairs; neighbours of one source without a gap are one batch until it has
    JOIN_BYTES: whatever is done with a batch costs about the same for few rows as for many.
    """
    held: list[EventBatch] = []
    start = stop = size = 0
    for position, batch in placed:
        if held and (position != stop or held[0].source != batch.source or size >= JOIN_BYTES):
            yield start, concat(held)
            held = []
        if not held:
            start, size = position, 0
        held.append(batch)
        stop, size = position + batch.num_rows, size + batch.nbytes
    if held:
        yield start, concat(held)
