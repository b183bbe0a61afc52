"""Which events come to a sink without the time that its path asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rayflume.escapes import TIME_HEADER, uses_time

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

_TIMED = ("syslogtcp", "syslogudp", "multiport_syslogtcp")
"""Sources whose events have it by themselves."""


def asks_for_time(sink: Mapping[str, Json]) -> bool:
    """Whether a sink `hdfs` with these options needs the header."""
    pattern = f"{sink.get('path', '')}/{sink.get('file_prefix', '')}"
    return uses_time(pattern) and not sink.get("use_local_time_stamp")


def is_timed(source_type: str, interceptors: Json) -> bool:
    """Whether the events of a source have the header once its interceptors, options as in YAML,
    have seen them. A part of a user's own, and what clients send, may bring it as well; nobody
    knows that.
    """
    timed = source_type in _TIMED
    for one in interceptors if isinstance(interceptors, list) else ():
        if isinstance(one, dict):
            timed = _after(one, timed)
    return timed


def _after(interceptor: Mapping[str, Json], timed: bool) -> bool:
    kind = interceptor.get("type")
    if kind == "timestamp":
        return timed or interceptor.get("header_name", TIME_HEADER) == TIME_HEADER
    if kind == "static":
        return timed or interceptor.get("key") == TIME_HEADER
    if kind == "regex_extractor":
        return timed or TIME_HEADER in _names(interceptor.get("serializers"))
    if kind == "remove_header":
        listed = interceptor.get("from_list")
        gone = [interceptor.get("with_name"), *(listed if isinstance(listed, list) else ())]
        return timed and TIME_HEADER not in gone
    return timed


def _names(serializers: Json) -> Iterable[Json]:
    found = serializers if isinstance(serializers, list) else []
    return [one.get("name") for one in found if isinstance(one, dict)]
