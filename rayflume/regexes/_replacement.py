"""Java's replacement texts (`Matcher.replaceAll`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import regex

_NAME = re.compile(r"\{([A-Za-z][A-Za-z0-9]*)\}")
_GROUPS_OF_RE2 = 9


@dataclass(frozen=True)
class Replacement:
    """Texts and numbers of groups, in order."""

    parts: tuple[str | int, ...]

    @property
    def re2(self) -> str | None:
        r"""As RE2 rewrites (`\1`); None for a group beyond its ninth."""
        if any(isinstance(part, int) and part > _GROUPS_OF_RE2 for part in self.parts):
            return None
        return "".join(
            f"\\{part}" if isinstance(part, int) else part.replace("\\", "\\\\")
            for part in self.parts
        )

    def in_ascii(self) -> Replacement:
        """With `?` for every character beyond ASCII."""
        return Replacement(
            tuple(
                part.encode("ascii", "replace").decode() if isinstance(part, str) else part
                for part in self.parts
            )
        )

    def of(self, match: regex.Match[str]) -> str:
        """What takes the place of one match; a group that took no part is empty."""
        return "".join(
            part if isinstance(part, str) else match.group(part) or "" for part in self.parts
        )


def parse_replacement(text: str, groups: int, names: Mapping[str, int]) -> Replacement:
    """Raises ValueError for what Java refuses, with the first replacement at the latest."""
    parts: list[str | int] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char not in "\\$":
            parts.append(char)
        elif char == "\\":
            if at == len(text):
                raise ValueError(r"the replacement ends in a single `\`; write `\\`")
            parts.append(text[at])
            at += 1
        else:
            group, at = _group(text, at, groups, names)
            parts.append(group)
    return Replacement(_joined(parts))


def _group(text: str, at: int, groups: int, names: Mapping[str, int]) -> tuple[int, int]:
    named = _NAME.match(text, at)
    if named is not None:
        if named[1] not in names:
            raise ValueError(f"the replacement names the group {named[1]!r}, which is not there")
        return names[named[1]], named.end()
    if not (text[at : at + 1].isascii() and text[at : at + 1].isdigit()):
        raise ValueError(r"`$` in a replacement begins a group, as in `$1`; write `\$` for a `$`")
    number, at = int(text[at]), at + 1
    if number > groups:
        raise ValueError(f"the replacement has `${number}`, and the pattern {groups} groups")
    # Further digits belong to the number as long as there is such a group, as in Java.
    while text[at : at + 1].isascii() and text[at : at + 1].isdigit():
        longer = number * 10 + int(text[at])
        if longer > groups:
            break
        number, at = longer, at + 1
    return number, at


def _joined(parts: list[str | int]) -> tuple[str | int, ...]:
    found: list[str | int] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return tuple(found)
