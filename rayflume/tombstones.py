"""What was removed from a lake, and what has its rows now: written before anything is removed.

A delivery that was prepared, published, and then forgotten by a crash looks for its files again
when it recovers. Where one is gone although it had been published, a tombstone names it; without
that the sink would take it for lost and write its rows a second time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rayflume.errors import LakeDamaged
from rayflume.interfaces import Json, Storage
from rayflume.naming import TOMBSTONES, tombstone_name

_READERS = 8


@dataclass(frozen=True)
class Tombstone:
    """`removed`: paths that are removed, or will be. `by`: the file, or the commit of a table, that
    has their rows. `facts`: what else its writer keeps there.
    """

    id: str
    removed: tuple[str, ...]
    by: str
    facts: Mapping[str, Json] = field(default_factory=dict)


def create(storage: Storage, tombstone: Tombstone) -> bool:
    """Make it durable. False when another of this id is there already. Blocks."""
    value = {**tombstone.facts, "removed": list(tombstone.removed), "by": tombstone.by}
    return storage.create(tombstone_name(tombstone.id), json.dumps(value).encode())


def ids(storage: Storage) -> list[str]:
    """Ids of all tombstones of a lake, sorted. Blocks."""
    names = (path.rpartition("/")[2] for path in storage.list(f"{TOMBSTONES}/"))
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def read(storage: Storage, tombstone: str) -> Tombstone | None:
    """One of them; None when it was deleted meanwhile. Blocks.

    Raises LakeDamaged for a file that is none.
    """
    path = tombstone_name(tombstone)
    try:
        data = storage.read(path)
    except KeyError:
        return None
    try:
        value = json.loads(data)
        named = tuple(map(str, value.pop("removed")))
        return Tombstone(tombstone, named, str(value.pop("by")), value)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise LakeDamaged(
            f"{path} of the lake is no tombstone ({error}): restore it, for it names files whose "
            "rows would be written twice"
        ) from error


def read_all(storage: Storage, which: Iterable[str]) -> list[Tombstone]:
    """Those that are still there, some at a time in parallel. Blocks."""
    with ThreadPoolExecutor(_READERS, "rayflume-tombstones") as pool:
        found = pool.map(lambda name: read(storage, name), which)
        return [tombstone for tombstone in found if tombstone is not None]


def removed(storage: Storage, paths: Sequence[str]) -> set[str]:
    """Those of `paths` that some tombstone names: they had been published. Blocks."""
    wanted, named = set(paths), set[str]()
    for tombstone in read_all(storage, reversed(ids(storage))):
        named |= wanted & set(tombstone.removed)
    return named
