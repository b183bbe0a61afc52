"""Bodies that are Arrow IPC streams, each of one row."""

from __future__ import annotations

import pyarrow as pa

from rayflume.component import Context, component
from rayflume.formats._arrow_size import stream_bytes
from rayflume.formats._tables import TableFormat, TableOptions
from rayflume.formats._unpacked import Budget, decoded_bytes

_FILE = b"ARROW1"
_HEAD = 8
"""The magic word, filled up."""
_TAIL = 4 + len(_FILE)
"""The length of the footer, and the word again."""
_FILE_BYTES_MIN = _HEAD + _TAIL


@component
class Arrow(TableOptions):
    """Each event's body is one whole Arrow IPC stream (or file), with one row; its fields become
    columns.

    A body that holds a hundred times its own length (a MiB is free), or 64 MiB and ten times its
    length, goes to the dead letters.
    """

    def build(self, context: Context) -> TableFormat:
        return self.reading(read)


def read(data: pa.Buffer, budget: Budget) -> pa.Table:
    """The table of one body. Raises Unfit for one that is far larger than it looks."""
    stream = _stream_of(data)
    size = stream_bytes(stream)
    budget.take(size, data.size)
    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    table.validate(full=True)  # or its lengths are not to be trusted
    decoded = sum(decoded_bytes(chunk) for column in table.columns for chunk in column.chunks)
    if decoded > size:
        budget.take(decoded, data.size)
    return table


def _stream_of(data: pa.Buffer) -> pa.Buffer:
    """A file is a stream between a magic word and a footer, which is not looked at: it could say
    that the messages are elsewhere.
    """
    if data.size < _FILE_BYTES_MIN or data.slice(0, len(_FILE)).to_pybytes() != _FILE:
        return data
    footer = int.from_bytes(data.slice(data.size - _TAIL, 4).to_pybytes(), "little", signed=True)
    length = data.size - _HEAD - _TAIL - footer
    if not 0 <= footer <= data.size or length < 0:
        raise ValueError("the footer has no place in the file")
    return data.slice(_HEAD, length)
