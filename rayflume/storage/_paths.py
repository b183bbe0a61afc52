"""Which paths a storage accepts, and what every handle has.

Invariant: whatever passes here, joined to the base with `/`, lies below the base on every store.
Names that come from data are escaped by the sink; what still looks hostile here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflume.interfaces import Json
from rayflume.naming import STAGING, delivery_of, parse_delivery

NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 900
"""S3 keys have at most 1,024 bytes; the rest is left to the prefix."""


def split(path: str) -> tuple[str, ...]:
    """The names in a path relative to the base. Raises ValueError for one that could leave it."""
    names = tuple(path.split("/"))
    for name in names:
        if name in {"", ".", ".."}:
            raise ValueError(f"the path {path!r} leaves the lake or has an empty name in it")
        if any(ord(char) < 32 or ord(char) == 127 for char in name):
            raise ValueError(f"the path {path!r} has a control character in it")
        if "\\" in name:  # some stores take it for a slash
            raise ValueError(f"the path {path!r} has a backslash in it")
        if len(_encoded(name)) > NAME_BYTES_MAX:
            raise ValueError(f"the path {path[:80]!r}... has a name over {NAME_BYTES_MAX} bytes")
    if len(_encoded(path)) > PATH_BYTES_MAX:
        raise ValueError(f"the path {path[:80]!r}... has over {PATH_BYTES_MAX} bytes")
    return names


def visible(path: str) -> tuple[str, ...]:
    """As `split`, for a file that readers may see. Raises ValueError for a place of staged
    bytes.
    """
    names = split(path)
    if is_staging(path):
        raise ValueError(f"the path {path!r} is reserved for files that are not published yet")
    return names


def target(path: str, delivery: str) -> tuple[str, ...]:
    """As `visible`, for a file of a delivery: its name must carry the delivery's id, for that is
    how a published file and a staged one are known again.
    """
    parse_delivery(delivery)
    if delivery_of(path) != delivery:
        raise ValueError(f"the file name of {path!r} does not carry its delivery {delivery!r}")
    return visible(path)


def folder(prefix: str) -> tuple[str, ...]:
    """The names of a folder relative to the base; `""` and a closing `/` are fine."""
    return split(prefix.removesuffix("/")) if prefix else ()


def is_staging(path: str) -> bool:
    return path == STAGING or path.startswith(f"{STAGING}/")


def of_journal(delivery: str | None, journal: str) -> bool:
    """Whether a delivery id, if there is one, is of this journal."""
    return delivery is not None and delivery.startswith(f"{journal}-")


def text_in(handle: Mapping[str, Json], name: str) -> str:
    """A text of a handle. Raises ValueError for a handle of another storage."""
    value = handle.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"not a handle of this storage, {name!r} is missing: {dict(handle)}")
    return value


def size_in(handle: Mapping[str, Json]) -> int:
    """The size in bytes of a handle. Raises ValueError for a handle of another storage."""
    value = handle.get("size")
    if not isinstance(value, int):
        raise ValueError(f"not a handle of this storage, 'size' is missing: {dict(handle)}")
    return value


def target_in(handle: Mapping[str, Json]) -> tuple[str, str]:
    """Target and delivery of a handle, checked like any other path."""
    path = text_in(handle, "target")
    delivery = delivery_of(path)
    if delivery is None:
        raise ValueError(f"the file name of {path!r} carries no delivery")
    target(path, delivery)
    return path, delivery


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the path {text!r} is not valid Unicode") from None
