"""Flume's JSON list of events to lines of JSON, in one pass over its bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rayflume.kernels import kernel

_TAB, _FEED, _RETURN, _BLANK, _QUOTE, _COMMA = 9, 10, 13, 32, 34, 44
_BACKSLASH, _LIST, _LIST_END, _OBJECT, _OBJECT_END = 92, 91, 93, 123, 125
_BEGIN, _FIRST, _BETWEEN, _NEXT, _END = 0, 1, 2, 3, 4
"""Before the list; where its first event may stand; behind an event; behind a comma; behind it."""


@kernel
def lines_of_events(data: NDArray[np.uint8], lines: NDArray[np.uint8]) -> int:
    """Fill `lines`, as long as `data`, with one event per line; the number of events.

    -1 if this is not a list of objects with at most one level of objects inside: then the bytes
    are for another reader, who also says what is wrong with them.
    """
    place, depth, events = _BEGIN, 0, 0
    in_text = escaped = False
    for at in range(len(data)):
        byte = data[at]
        lines[at] = byte
        if in_text:
            if byte < _BLANK:
                return -1
            if escaped:
                escaped = False
            elif byte == _BACKSLASH:
                escaped = True
            elif byte == _QUOTE:
                in_text = False
        elif byte in (_FEED, _RETURN):
            lines[at] = _BLANK
        elif depth > 0:
            if byte == _QUOTE:
                in_text = True
            elif byte == _OBJECT:
                depth += 1
                if depth > 2:
                    return -1
            elif byte == _OBJECT_END:
                depth -= 1
            elif byte in (_LIST, _LIST_END):
                return -1
        elif byte == _OBJECT:
            if place != _FIRST and place != _NEXT:
                return -1
            depth, place = 1, _BETWEEN
            events += 1
        elif byte == _COMMA and place == _BETWEEN:
            lines[at], place = _FEED, _NEXT
        elif byte == _LIST and place == _BEGIN:
            lines[at], place = _BLANK, _FIRST
        elif byte == _LIST_END and (place in (_FIRST, _BETWEEN)):
            lines[at], place = _FEED, _END
        elif byte != _BLANK and byte != _TAB:
            return -1
    return events if place == _END else -1
