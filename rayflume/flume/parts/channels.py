"""The file channel and what is made of it. Flume user guide, sections File Channel, Spillable
Memory Channel and Pseudo Transaction Channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rayflume.flume.names import FlumePart, Prop, Remark, Severity, Status
from rayflume.flume.readers import commas, flag, size, unless, whole
from rayflume.flume.room import FILE_ROWS, MEMORY_ROWS, enough

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_DATA = "~/.flume/file-channel/data"
_OURS = "rayflume"
"""The folder of the journal in Flume's data directory: both may be there side by side."""
_NOTE, _ERROR = Severity.NOTE, Severity.ERROR
_NO_CHECKPOINT = (
    "rayflume's journal needs no checkpoint: opening it reads only the heads of its records"
)
_ALWAYS_SYNCED = (
    "every put is synced before it is acknowledged, many together; without that rows would be lost"
)
_NO_STORE = (
    "rayflume reads no JCEKS key store, a format of Java alone: without its key the channel would "
    "write rows in plain, so it does not run. Write a key into a file (`openssl rand -base64 -out "
    "keys/k1 32`) and use `encryption: {active_key: k1, key_files: {k1: keys/k1}}` in YAML "
    "(`rayflume convert` writes the rest); drain the old channel with Flume"
)
_OF_STORE = "belongs to the JCEKS key store, which only Java reads; see `encryption.activeKey`"


def _free(value: str) -> Json:
    """Bytes that stay free; Flume's least is 1 MiB."""
    return size(str(max(2**20, whole(value))))


def _segment(value: str) -> Json:
    """Bytes of a file of the journal, which has at least 1 MiB. Raises ValueError, as Flume."""
    found = whole(value)
    if found < 1:
        raise ValueError(f"{value!r} is not positive")
    return size(str(max(2**20, found)))


def _journal(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """The directory of the journal, beside Flume's own files."""
    folders = commas(given.get("dataDirs", _DATA)) or [_DATA]
    assert isinstance(folders, list)
    options["directory"] = f"{str(folders[0]).rstrip('/')}/{_OURS}"
    if len(folders) > 1:
        yield Remark(
            f"the journal lies in one directory: {options['directory']}; one disk takes what "
            "Flume needs several for, because puts are written one behind the other",
            Severity.WARNING,
            "dataDirs",
        )


def _file(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    yield from _journal(options, given)
    yield from enough(options, given, FILE_ROWS)


def _pseudo(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    return enough(options, given, MEMORY_ROWS)


def _room(value: str) -> int | None:
    """A number of events; None for what Flume takes its default for."""
    try:
        number = whole(value)
    except ValueError:
        return None
    return number if number >= 0 else None


def _spilling(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """A file channel whose newest rows are in the page cache does what this one is for."""
    yield from _journal(options, given)
    rooms = 0
    for name, default in (("memoryCapacity", "10000"), ("overflowCapacity", "100000000")):
        room = _room(given.get(name, default))
        if room is None:
            why = f"{given[name]!r} is no number of events"
            yield Remark(f"{why}; the default {default} applies, as in Flume", name=name)
        rooms += int(default) if room is None else room
    options["capacity"] = {"events": max(1, rooms)}
    options["page_cache"] = True
    yield from enough(options, given, FILE_ROWS, "overflowCapacity")


_FILES = (
    Prop("checkpointDir", "~/.flume/file-channel/checkpoint", why=_NO_CHECKPOINT, severity=_NOTE),
    Prop("useDualCheckpoints", "false", why=_NO_CHECKPOINT, severity=_NOTE),
    Prop("backupCheckpointDir", why=_NO_CHECKPOINT, severity=_NOTE),
    Prop("compressBackupCheckpoint", "false", why=_NO_CHECKPOINT, severity=_NOTE),
    Prop(
        "dataDirs",
        _DATA,
        "directory",
        why=f"the journal is the folder `{_OURS}` in the first of them; Flume's own files there "
        "are not read: let Flume drain its channel first",
    ),
    Prop(
        "transactionCapacity",
        "10000",
        why="a batch goes in whole, whatever its size; the number is only compared with batch "
        "sizes, as Flume does",
        severity=_NOTE,
    ),
    Prop("checkpointInterval", "30000", why=_NO_CHECKPOINT, severity=_NOTE),
    Prop(
        "maxFileSize",
        "1623195647",
        "max_file_size",
        unless("1623195647", _segment),
        why="Flume's default is not taken over: smaller segments give their room back sooner",
    ),
    Prop("minimumRequiredSpace", "524288000", "minimum_required_space", _free),
    Prop("use-log-replay-v1", "false", why="there is one way to open a journal", severity=_NOTE),
    Prop("use-fast-replay", "false", why="there is one way to open a journal", severity=_NOTE),
    Prop("checkpointOnClose", "true", why=_NO_CHECKPOINT, severity=_NOTE),
    Prop("fsyncPerTransaction", "true", read=flag, why=_ALWAYS_SYNCED, severity=_NOTE),
    Prop("fsyncInterval", "5", why=_ALWAYS_SYNCED, severity=_NOTE),
    Prop("encryption.activeKey", why=_NO_STORE, severity=_ERROR),
    Prop(
        "encryption.cipherProvider",
        why="the cipher is AES-GCM, which also sees whether rows were changed; see "
        "encryption.keyProvider",
        severity=_NOTE,
    ),
    Prop("encryption.keyProvider", why=_OF_STORE, severity=_ERROR),
    Prop("encryption.keyProvider.keyStoreFile", why=_OF_STORE, severity=_ERROR),
    Prop("encryption.keyProvider.keyStorePasswordFile", why=_OF_STORE, severity=_ERROR),
    Prop("encryption.keyProvider.keys", why=_OF_STORE, severity=_ERROR),
    Prop("encryption.keyProvider.keys.<alias>.passwordFile", why=_OF_STORE, severity=_ERROR),
)
_WAITS = "a source waits until the channel has room and loses nothing; remove it"
_IN_CACHE = (
    "the newest rows are in the operating system's page cache, which grows and shrinks by itself"
)

PARTS = (
    FlumePart(
        kind="channel",
        types=("file",),
        java_class="org.apache.flume.channel.file.FileChannel",
        type="file",
        capacity="transactionCapacity",
        props=(
            *_FILES,
            Prop("capacity", "1000000", "capacity.events", whole),
            Prop("keep-alive", "3", why=_WAITS, severity=_NOTE),
        ),
        finish=_file,
    ),
    FlumePart(
        kind="channel",
        types=("SPILLABLEMEMORY",),
        java_class="org.apache.flume.channel.SpillableMemoryChannel",
        type="file",
        capacity="transactionCapacity",
        props=(
            Prop(
                "memoryCapacity",
                "10000",
                "capacity.events",
                _room,
                why="added to overflowCapacity: all rows are in the journal, the newest of them in "
                "memory as well, so none is lost with the process",
            ),
            Prop("overflowCapacity", "100000000", why="added to memoryCapacity", severity=_NOTE),
            Prop("overflowTimeout", "3", why=_IN_CACHE, severity=_NOTE),
            Prop("overflowDeactivationThreshold", "5", why=_IN_CACHE, severity=_NOTE),
            Prop("byteCapacityBufferPercentage", "20", why=_IN_CACHE, severity=_NOTE),
            Prop("byteCapacity", "80% of the JVM maximum heap", why=_IN_CACHE, severity=_NOTE),
            Prop("avgEventSize", "500", why="bytes are counted, not estimated", severity=_NOTE),
            *_FILES,
        ),
        finish=_spilling,
    ),
    FlumePart(
        kind="channel",
        types=(),
        java_class="org.apache.flume.channel.PseudoTxnMemoryChannel",
        type="memory",
        props=(
            Prop("capacity", "50", "capacity.events", whole),
            Prop("keep-alive", "3", why=_WAITS, severity=_NOTE),
        ),
        finish=_pseudo,
    ),
    FlumePart(
        kind="file_channel_key_provider",
        types=("JCEKSFILE",),
        java_class="org.apache.flume.channel.file.encryption.JCEFileKeyProvider$Builder",
        status=Status.NEVER,
        why=_NO_STORE,
        props=(
            Prop("keyStoreFile", required=True, why=_NO_STORE, severity=_ERROR),
            Prop("keyStorePasswordFile", required=True, why=_NO_STORE, severity=_ERROR),
            Prop("keys", required=True, why=_NO_STORE, severity=_ERROR),
            Prop("keys.<alias>.passwordFile", why=_NO_STORE, severity=_ERROR),
        ),
    ),
    FlumePart(
        kind="file_channel_cipher_provider",
        types=("AESCTRNOPADDING",),
        java_class="org.apache.flume.channel.file.encryption.AESCTRNoPaddingProvider",
        status=Status.NEVER,
        why="AES-GCM takes its place: it sees as well whether rows were changed; give "
        "`encryption: {active_key: ..., key_files: ...}` to the file channel in YAML",
    ),
)
