"""The durable channel: a journal in a local directory."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rayflume.channels._journaled import ChannelSetup, JournaledChannel
from rayflume.component import LOCAL_PATH, Component, Context, component, option
from rayflume.directories import unwritable
from rayflume.errors import OptionError
from rayflume.journal.disk import LocalDisk
from rayflume.journal.ledger import LedgerLimits
from rayflume.journal.options import JournalOptions
from rayflume.journal.sealing import KEY_BYTES, Sealing
from rayflume.units import ByteSize, Millis

_RESERVE_BYTES = 16 * 2**20
_RESERVE_BYTES_PER_KEY = 48
"""What a key takes in a Snapshot, of which there must be room for one on a full disk."""
_RESERVE_SHARE = 16


class Capacity(BaseModel):
    """Bounds of what a channel holds; the first that is reached counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: int = Field(10_000_000, ge=1, description="Rows the channel may hold.")
    bytes: ByteSize = Field(8 * 2**30, description="Bytes the channel may hold.")


class Encryption(BaseModel):
    """Rows in the journal's files are encrypted with AES-GCM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    active_key: str = option("Name of the key that new rows are encrypted with.")
    key_files: dict[str, str] = option(
        "Name -> file with the key: 16, 24 or 32 bytes, or those in base64. Keep old "
        "keys here until all rows that were written with them are delivered.",
        json_schema_extra=LOCAL_PATH,
        min_length=1,
    )

    @model_validator(mode="after")
    def _active_is_there(self) -> Self:
        if self.active_key not in self.key_files:
            raise ValueError(f"`active_key: {self.active_key}` is not in `key_files`")
        return self

    def sealing(self, context: Context) -> Sealing:
        """Reads the keys. Raises OptionError saying which file is not a key."""
        keys = {name: key_in(context.path(file)) for name, file in self.key_files.items()}
        return Sealing(self.active_key, keys)


def key_in(path: Path) -> bytes:
    """The key in a file, 16, 24 or 32 bytes. Raises OptionError."""
    try:
        found = path.read_bytes()
    except OSError as error:
        raise OptionError(f"encryption: cannot read the key {path}: {error.strerror}") from error
    if len(found) in KEY_BYTES:
        return found
    with contextlib.suppress(ValueError):
        decoded = base64.b64decode(found.strip(), validate=True)
        if len(decoded) in KEY_BYTES:
            return decoded
    raise OptionError(
        f"encryption: {path} is no key; write one with `openssl rand -base64 -out FILE 32`"
    )


@component
class File(Component):
    """Durable channel: a write-ahead journal in one local directory, synced before any
    acknowledgement.

    Rows survive a crash of every process and of the machine; they are lost only with the disk. One
    process at a time owns the directory. Use it wherever a row may not be lost.
    """

    durable: ClassVar[bool] = True

    directory: str = option(
        "Directory of the journal (Flume: dataDirs and checkpointDir in one). Made if missing. "
        "Two channels must not share it.",
        example="state/wal",
        json_schema_extra=LOCAL_PATH,
    )
    capacity: Capacity = option(
        "Rows and bytes the channel may hold: `{events: 10000000, bytes: 8GiB}`, or only a number "
        "of rows as in Flume. Sources wait when it is full. (Flume's default of 1,000,000 rows "
        "would keep lake files small.)",
        factory=Capacity,
        example={"events": 10_000_000, "bytes": "8GiB"},
    )
    max_file_size: ByteSize = option(
        "Size at which a new segment file is begun; a segment is removed when all its rows are "
        "committed.",
        default=256 * 2**20,
        ge=2**20,
    )
    minimum_required_space: ByteSize = option(
        "Free bytes that must stay on the disk; below that puts wait, and deliveries go on. For "
        "when others fill the disk, the channel keeps a file of a few MiB, which it gives back.",
        default=524_288_000,
    )
    page_cache: bool = option(
        "Write rows through the page cache of the operating system, and let sinks read them from "
        "there. Without it batches of 1 MiB and more go straight to the disk and come from there, "
        "which costs far less CPU but reads each row once from the disk: `true` is better where "
        "the disk, not the CPU, is what limits (under some 300 MB/s).",
        default=False,
    )
    encryption: Encryption | None = option(
        "Encrypt the rows in the journal's files: bodies, headers and no more (names of streams, "
        "which are paths of files, positions and targets stay readable). Sinks then ask the "
        "channel for rows, also on its own host. `rayflume journal export` cannot read them.",
        default=None,
        example={"active_key": "k1", "key_files": {"k1": "keys/k1"}},
    )
    strict: bool = option(
        "Refuse to open a damaged journal. Otherwise the damaged records are set aside, counted "
        "and shown, and everything else is served.",
        default=False,
    )
    stream_retention: Millis = option(
        "How long the position of a stream that cannot come back is remembered. Time in which "
        "the channel is closed counts for a quarter of the shorter retention at most, so a clock "
        "that jumps cannot end it.",
        default=7 * 86_400_000,
        example="7d",
    )
    idempotency_keys: int = option(
        "How many idempotency keys are remembered; at least three quarters of it.",
        default=1_000_000,
        ge=4,
    )
    idempotency_key_retention: Millis = option(
        "How long an idempotency key is remembered; at least three quarters of it. A request "
        "that is sent again later is stored again. Measured by the time the channel is open, and "
        "at most a quarter of it for each time it was closed: after one wrong wall clock at an "
        "opening half of it is still kept.",
        default=86_400_000,
        example="24h",
    )
    lease_timeout: Millis = option(
        "After so long without a sign of life a sink loses the rows it took but did not prepare.",
        default=30_000,
        ge=1_000,
        example="30s",
    )

    @field_validator("capacity", mode="before")
    @classmethod
    def _rows_only(cls, value: object) -> object:
        return {"events": value} if isinstance(value, int) else value

    def check(self, context: Context) -> list[str]:
        """Whether the journal can be made or written, and the keys be read."""
        problems = unwritable("directory", context.path(self.directory))
        try:
            if self.encryption is not None:
                self.encryption.sealing(context)
        except OptionError as error:
            problems.append(error.message)
        return problems

    def journal_options(self, context: Context) -> JournalOptions:
        """The options of the journal beneath. Raises OptionError: a key that is none."""
        limits = LedgerLimits(
            self.capacity.events,
            self.capacity.bytes,
            self.lease_timeout,
            self.stream_retention,
            self.idempotency_keys,
            self.idempotency_key_retention,
        )
        sealing = None if self.encryption is None else self.encryption.sealing(context)
        return JournalOptions(limits, self.max_file_size, self.strict, sealing)

    def reserve_bytes(self) -> int:
        """Room kept for the records that free some: a new segment with its Snapshot."""
        wanted = _RESERVE_BYTES + _RESERVE_BYTES_PER_KEY * self.idempotency_keys
        return min(wanted, self.capacity.bytes // _RESERVE_SHARE)

    def build(self, context: Context) -> JournaledChannel:
        """The channel, not yet open."""
        direct = not self.page_cache
        setup = ChannelSetup(True, direct, self.minimum_required_space)
        disk = LocalDisk(context.path(self.directory), self.reserve_bytes(), direct=direct)
        return JournaledChannel(disk, self.journal_options(context), context, setup)
