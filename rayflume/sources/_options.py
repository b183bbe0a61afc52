"""Options that all sources of files have."""

from __future__ import annotations

from rayflume.component import Component, option
from rayflume.lines import LineBuffer
from rayflume.units import ByteSize

_BYTES_MAX = 512 * 1024 * 1024
# Two of these fit together into the 2 GiB that a column of bodies can hold.


class FileOptions(Component):
    """How files become batches of lines, the same for every source of files."""

    id: str | None = option(
        "Name of this source in the names of its streams; the part's name if absent. Two sources "
        "that read the same files into one channel need different ids, and a source that is "
        "renamed keeps its place in all files when this names what it was called before.",
        default=None,
        min_length=1,
        example="web",
    )
    batch_bytes: ByteSize = option(
        "Size of a batch. One read of a file takes as much, and one row may go beyond.",
        default=8 * 1024 * 1024,
        ge=1,
        le=_BYTES_MAX,
        example="8MiB",
    )
    batch_size: int = option(
        "Most rows of a batch, 0 for no bound. Flume's default is 100; here a batch is as large "
        "as `batch_bytes`, because one call per 100 lines would be slow.",
        default=0,
        ge=0,
    )
    max_line_bytes: ByteSize = option(
        "Longest row. A longer line goes on in the next row, as in Flume, so nothing is lost and "
        "memory stays bounded.",
        default=16 * 1024 * 1024,
        ge=1,
        le=_BYTES_MAX,
        example="16MiB",
    )
    strip_carriage_return: bool = option(
        "Whether a carriage return before the newline belongs to the line end and not to the row. "
        "Flume's taildir strips it and its spooldir keeps it; here both strip it.",
        default=True,
    )
    file_header: bool = option("Whether rows carry the file's absolute path.", default=False)
    file_header_key: str = option(
        "Header that holds the path, if `file_header` is set.", default="file", min_length=1
    )

    def headers_written(self) -> dict[str, bool]:
        """A file may have another name when it is read again."""
        return {self.file_header_key: False} if self.file_header else {}

    def line_buffer(self) -> LineBuffer:
        return LineBuffer(self.batch_bytes, self.max_line_bytes, self.strip_carriage_return)
