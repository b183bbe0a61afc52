"""Names in the lake, and the delivery ids they carry.

    <path>/<partition>/part-<delivery>-<n>.parquet     rows
    <path>/<escapes>/<prefix>.<delivery>-<n><suffix>   rows in other files than Parquet
    <path>/_rayflume/dead_letters/<delivery>-<n>.dead  rows that could not be decoded
    <path>/_rayflume/staging/<delivery>-<n>.staged     bytes that are not published yet
    <path>/_rayflume/schema/<version>.json             the agreed schemas
    <path>/_rayflume/tombstones/<id>.json              what was merged into what, and then removed
    <path>/_rayflume/replay/<dead letters>.claim       who replays a file of dead letters
    <path>/_rayflume/replay/<dead letters>.done        it was replayed

Invariant: no two deliveries ever share an id, so no two share a name; and nothing under `_rayflume`
ends in `.parquet`, because some readers take every `*.parquet` below a path.
"""

from __future__ import annotations

import re

RESERVED = "_rayflume"
STAGING = f"{RESERVED}/staging"
DEAD_LETTERS = f"{RESERVED}/dead_letters"
SCHEMAS = f"{RESERVED}/schema"
TOMBSTONES = f"{RESERVED}/tombstones"
COMPACTION = "000000000000000c"
"""Stands for the journal in the delivery ids of merged files; journals have 64 random bits."""
REPLAY = f"{RESERVED}/replay"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
"""The value of a partition that Hive, Spark and pyarrow read as null."""

_JOURNAL = re.compile(r"[0-9a-f]{16}")
_DELIVERY = re.compile(r"[0-9a-f]{16}-[0-9]+-[0-9]+")
_FILE = re.compile(
    r"(?:.*[.-])?([0-9a-f]{16}-[0-9]+-[0-9]+)-[0-9]+(?![0-9])[^\x00-\x1f]*", re.DOTALL
)


def delivery_id(journal: str, epoch: int, number: int) -> str:
    """The id of a delivery: 16 hex digits of its journal, the owner's epoch, a number in it.

    Raises ValueError for anything that could not be read back.
    """
    if not _JOURNAL.fullmatch(journal) or epoch < 0 or number < 0:
        raise ValueError(f"no delivery id can be made of {journal!r}, {epoch} and {number}")
    return f"{journal}-{epoch}-{number}"


def parse_delivery(delivery: str) -> tuple[str, int, int]:
    """Journal, epoch and number of a delivery id. Raises ValueError for any other text."""
    if not _DELIVERY.fullmatch(delivery):
        raise ValueError(
            f"{delivery!r} is not a delivery id: <16 hex digits of the journal>-<epoch>-<number>"
        )
    journal, epoch, number = delivery.split("-")
    return journal, int(epoch), int(number)


def data_name(delivery: str, n: int) -> str:
    """Name of the n-th file of rows of a delivery, to be put below its partition."""
    return f"part-{delivery}-{n}.parquet"


def event_name(prefix: str, delivery: str, n: int, suffix: str) -> str:
    """Name of the n-th file of events of a delivery. Raises ValueError where prefix or suffix would
    hide whose it is: a prefix ends with `.` or `-`, or is empty.
    """
    name = f"{prefix}{delivery}-{n}{suffix}"
    if delivery_of(name) != delivery:
        raise ValueError(f"the name {name!r} does not tell its delivery")
    return name


def dead_name(delivery: str, n: int) -> str:
    """Path of the n-th dead-letter file of a delivery, relative to the lake's path."""
    return f"{DEAD_LETTERS}/{delivery}-{n}.dead"


def staged_name(delivery: str, n: int) -> str:
    """Path of the n-th staged file of a delivery, relative to the lake's path."""
    return f"{STAGING}/{delivery}-{n}.staged"


def schema_name(version: int) -> str:
    """Path of one version of the lake's schema, relative to the lake's path."""
    return f"{SCHEMAS}/{version}.json"


def tombstone_name(tombstone: str) -> str:
    """Path of one tombstone, relative to the lake's path."""
    return f"{TOMBSTONES}/{tombstone}.json"


def claim_name(dead: str) -> str:
    """Path of the file that says who replays a file of dead letters, relative to the lake's
    path.
    """
    return f"{REPLAY}/{dead.rpartition('/')[2].removesuffix('.dead')}.claim"


def done_name(dead: str) -> str:
    """Path of the file that says that a file of dead letters was replayed."""
    return claim_name(dead).removesuffix(".claim") + ".done"


def delivery_of(path: str) -> str | None:
    """The delivery that a data, dead-letter or staged file belongs to, read from its name; None for
    a file of another name.
    """
    match = _FILE.fullmatch(path.rpartition("/")[2])
    return match[1] if match else None
