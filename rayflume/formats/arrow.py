"""Bodies that are Arrow IPC streams, each of one row."""

from __future__ import annotations

import pyarrow as pa

from rayflume.component import Context, component
from rayflume.formats._tables import TableFormat, TableOptions

_FILE = b"ARROW1"


@component
class Arrow(TableOptions):
    """Each event's body is one whole Arrow IPC stream (or file), with one row; its fields become
    columns.
    """

    def build(self, context: Context) -> TableFormat:
        return self.reading(read)


def read(data: pa.Buffer) -> pa.Table:
    """The table of one body."""
    whole = data.slice(0, len(_FILE)).to_pybytes() == _FILE
    with pa.ipc.open_file(data) if whole else pa.ipc.open_stream(data) as reader:
        return reader.read_all()
