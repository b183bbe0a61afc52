"""Java's character classes: ranges, unions, intersections (`[a-z&&[^aeiou]]`) -> one set."""

from __future__ import annotations

from rayflume.regexes import _sets as sets
from rayflume.regexes._escapes import Reader, character

_DEPTH_MAX = 50


def parse_class(reader: Reader, flags: frozenset[str], depth: int = 0) -> sets.Ranges:
    """The set whose `[` was just read; goes over its `]`. Raises ValueError with a sentence."""
    if depth > _DEPTH_MAX:
        raise ValueError(f"more than {_DEPTH_MAX} sets are in each other")
    negate = reader.take("^")
    found: sets.Ranges | None = None
    operand: sets.Ranges | None = None
    while True:
        if reader.skip_comment(flags):
            continue
        if reader.at_end:
            raise ValueError("a `[` has no `]`")
        if reader.take("]"):
            if found is not None or operand is not None:
                break
            part = sets.one("]")
        elif reader.take("&&"):
            found, operand = _and(found, operand), None
            continue
        elif reader.take("["):
            part = parse_class(reader, flags, depth + 1)
        elif reader.take("\\Q"):
            part = sets.ranges((ord(one), ord(one)) for one in reader.quoted())
        else:
            part = _range(reader, flags)
        operand = part if operand is None else sets.united(operand, part)
    whole = _and(found, operand) or ()
    return sets.negated(whole) if negate else whole


def _and(found: sets.Ranges | None, operand: sets.Ranges | None) -> sets.Ranges | None:
    if found is None or operand is None:
        return operand if found is None else found
    return sets.common(found, operand)


def _range(reader: Reader, flags: frozenset[str]) -> sets.Ranges:
    """One character or `a-z`, or the set of a shorthand."""
    if reader.text.startswith("[:", reader.at - 1):
        raise ValueError(r"Java has no `[:alpha:]`; write `\p{Alpha}`")
    first = _one(reader, flags)
    if not isinstance(first, str):
        return first
    last = first
    following = reader.text[reader.at + 1 : reader.at + 2]
    if reader.peek() == "-" and following and following not in "[]":
        reader.at += 1
        end = _one(reader, flags)
        if not isinstance(end, str):
            raise ValueError("a range ends in a set of characters")
        last = end
    if ord(last) < ord(first):
        raise ValueError(f"the range `{first}-{last}` ends before it begins")
    found = ((ord(first), ord(last)),)
    return sets.folded(found) if "i" in flags else found


def _one(reader: Reader, flags: frozenset[str]) -> str | sets.Ranges:
    if reader.peek() == "\\":
        return character(reader, flags)
    char = reader.peek()
    reader.at += 1
    return char
