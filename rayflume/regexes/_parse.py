"""Reads a pattern of `java.util.regex` by recursive descent and writes it for both engines.

Every construct becomes a Node: its text for RE2 (None where RE2 has no such thing), its text for
Python's `regex`, and whether it can match the empty text. Flags are resolved on the way, so neither
text holds any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from rayflume.regexes import _sets as sets
from rayflume.regexes._classes import parse_class
from rayflume.regexes._escapes import Reader, character

_OPENING = re.compile(r"\(\?(?:P?<(?P<name>[A-Za-z_][A-Za-z0-9_]*)>|(?P<kind>[:=!>]|<=|<!))")
_SWITCH = re.compile(r"\(\?(?P<on>[idmsuxU]*)(?:-(?P<off>[idmsuxU]*))?(?P<end>[:)])")
_REPEAT = re.compile(r"(?:[*+?]|\{(?P<low>\d+)(?P<comma>,(?P<high>\d*))?\})(?P<way>[?+]?)")
_WORD = r"[\p{L}\p{Nd}_]"
_WORD_BEFORE = rf"(?:(?<={_WORD})|(?<=[\p{{L}}\p{{Nd}}]\p{{Mn}}+))"
_WORD_AFTER = rf"(?:(?={_WORD})|(?=\p{{Mn}})(?<=[\p{{L}}\p{{Nd}}]\p{{Mn}}*))"
_EDGE = rf"(?:{_WORD_BEFORE}(?!{_WORD_AFTER})|(?!{_WORD_BEFORE}){_WORD_AFTER})"
"""Java's `\\b` before version 19: letters and digits of any script, and marks on them."""
_INNER_EDGE = rf"(?!{_EDGE})"
_ENDS = r"\r\x85\u2028\u2029"
_AT_END = rf"(?:(?=(?:\r\n|[{_ENDS}])?\Z)|(?<!\r)(?=\n\Z))"
_AT_LINE_END = rf"(?:(?=[{_ENDS}]|\Z)|(?<!\r)(?=\n))"
_AT_LINE_BEGIN = r"(?:(?:\A|(?<=[\n\x85\u2028\u2029])|(?<=\r)(?!\n))(?!\Z))"
_DEPTH_MAX = 100


class Hazard(StrEnum):
    """Texts for which the RE2 form may find something else than Java does."""

    ENDS_IN_TERMINATOR = "the last character ends a line"
    """`$` and `\\Z` match before it as well."""
    LINES = "it is empty, its last character ends a line, or lines end otherwise than in LF"
    """`^` and `$` with `(?m)`."""
    NOT_ASCII = "it holds a character beyond ASCII"
    """`\\b` and `\\B` know letters of all scripts."""


@dataclass(frozen=True)
class Node:
    """A construct, written twice.

    `captures`: it holds a group. `shy`: it can be empty, and would be before it is anything else.
    """

    re2: str | None
    python: str
    nullable: bool = False
    captures: bool = False
    shy: bool = False


@dataclass
class Parsed:
    """A whole pattern. `why`: what RE2 lacks, "" if `re2` is there."""

    re2: str | None
    python: str
    nullable: bool
    groups: int
    names: dict[str, int]
    hazards: set[Hazard]
    why: str


def parse(pattern: str) -> Parsed:
    """Raises ValueError with a sentence for what is no pattern of Java's."""
    parser = _Parser(Reader(pattern))
    try:
        node = parser.alternatives(frozenset(), 0)
        if not parser.reader.at_end:
            raise ValueError("a `)` has no `(`")
    except ValueError as error:
        raise ValueError(
            f"{pattern!r} is not a regular expression of Java's: {error} "
            f"(at character {parser.reader.at + 1})"
        ) from None
    return Parsed(
        node.re2,
        node.python,
        node.nullable,
        parser.groups,
        parser.names,
        parser.hazards,
        "" if node.re2 is not None else parser.why,
    )


@dataclass
class _Parser:
    reader: Reader
    groups: int = 0
    names: dict[str, int] = field(default_factory=dict)
    hazards: set[Hazard] = field(default_factory=set)
    why: str = ""

    def lacks(self, python: str, why: str, nullable: bool = False) -> Node:
        """A construct that RE2 has not."""
        self.why = self.why or why
        return Node(None, python, nullable)

    def alternatives(self, flags: frozenset[str], depth: int) -> Node:
        """Up to the `)` that ends the group, or the end."""
        if depth > _DEPTH_MAX:
            raise ValueError(f"more than {_DEPTH_MAX} groups are in each other")
        branches: list[list[Node]] = [[]]
        while not self.reader.at_end and self.reader.peek() != ")":
            if self.reader.skip_comment(flags):
                continue
            if self.reader.take("|"):
                branches.append([])
                continue
            switch = _SWITCH.match(self.reader.text, self.reader.at)
            if switch is not None and switch["end"] == ")":
                self.reader.at = switch.end()
                flags = _switched(flags, switch)
                continue
            atoms = self.atoms(flags, depth)
            branches[-1] += [*atoms[:-1], *(self.repeated(atom, flags) for atom in atoms[-1:])]
        nodes = [_sequence(branch) for branch in branches]
        return Node(
            _joined([node.re2 for node in nodes], "|"),
            "|".join(node.python for node in nodes),
            any(node.nullable for node in nodes),
            any(node.captures for node in nodes),
            any(node.shy for node in nodes) or any(node.nullable for node in nodes[:-1]),
        )

    def atoms(self, flags: frozenset[str], depth: int) -> list[Node]:
        r"""The next construct without its quantifier; several for a `\Q...\E`, none if empty."""
        reader = self.reader
        char = reader.peek()
        if char == "(":
            return [self.group(flags, depth)]
        if char == "[":
            reader.at += 1
            return [_set(parse_class(reader, flags), flags)]
        if reader.take("\\Q"):
            return [_char(one, flags) for one in reader.quoted()]
        if char == "\\":
            return [self.escape(flags)]
        if char in "*+?":
            raise ValueError(f"`{char}` has nothing to repeat")
        if char == "{":
            raise ValueError(r"`{` repeats nothing; write `\{` for the character")
        reader.at += 1
        if char == ".":
            return [_dot(flags)]
        if char == "^":
            return [self.line_begin(flags)]
        if char == "$":
            return [self.line_end(flags)]
        return [_char(char, flags)]

    def repeated(self, node: Node, flags: frozenset[str]) -> Node:
        """`node` with the quantifier that follows it, if one does."""
        while self.reader.skip_comment(flags):
            pass
        text, at = self.reader.text, self.reader.at
        found = _REPEAT.match(text, at)
        if found is None:
            if text[at : at + 1] == "{":
                raise ValueError("`{` must be followed by a count and `}`, as in `{2,5}`")
            return node
        self.reader.at = found.end()
        low, high = found["low"], found["high"]
        if low and high and int(low) > int(high):
            raise ValueError(f"`{{{low},{high}}}` ends before it begins")
        count = text[at : found.end() - len(found["way"])]
        if node.shy and count != "?":
            raise ValueError(
                "it repeats what may be empty and would rather be; put the part that is never "
                "empty first, as in `(a|)`"
            )
        nullable = node.nullable or count[0] in "*?" or (low is not None and int(low) == 0)
        python = f"(?:{node.python}){count}{found['way']}"
        if found["way"] == "+":
            made = self.lacks(python, "no possessive quantifiers", nullable)
        elif node.nullable and node.captures and count != "?":
            # What such a group holds at the end differs from engine to engine.
            made = self.lacks(
                python, "another idea of a repeated group that may be empty", nullable
            )
        else:
            re2 = None if node.re2 is None else f"(?:{node.re2}){count}{found['way']}"
            made = Node(re2, python, nullable)
        if self.reader.peek() in tuple("*+?{"):
            raise ValueError(f"`{self.reader.peek()}` follows another quantifier")
        shy = nullable and (node.shy or found["way"] == "?")
        return replace(made, captures=node.captures, shy=shy)

    def group(self, flags: frozenset[str], depth: int) -> Node:
        reader = self.reader
        switch = _SWITCH.match(reader.text, reader.at)
        opening = _OPENING.match(reader.text, reader.at)
        kind, number = ":", 0
        if switch is not None:
            reader.at = switch.end()
            flags = _switched(flags, switch)
        elif opening is not None and opening["name"] is None:
            reader.at = opening.end()
            kind = opening["kind"]
        elif reader.text.startswith("(?", reader.at) and opening is None:
            raise ValueError(f"{reader.text[reader.at : reader.at + 3]!r} begins no group")
        else:
            self.groups = number = self.groups + 1
            reader.at = opening.end() if opening else reader.at + 1
            if opening is not None and self.names.setdefault(opening["name"], number) != number:
                raise ValueError(f"the group {opening['name']!r} is there twice")
        inner = self.alternatives(flags, depth + 1)
        if not reader.take(")"):
            raise ValueError("a `(` has no `)`")
        if number:
            re2 = None if inner.re2 is None else f"(?P<g{number}>{inner.re2})"
            return replace(inner, re2=re2, python=f"({inner.python})", captures=True)
        if kind == ":":
            re2 = None if inner.re2 is None else f"(?:{inner.re2})"
            return replace(inner, re2=re2, python=f"(?:{inner.python})")
        why = "no atomic groups" if kind == ">" else "no look-ahead and no look-behind"
        made = self.lacks(f"(?{kind}{inner.python})", why, kind != ">" or inner.nullable)
        return replace(made, captures=inner.captures)

    def escape(self, flags: frozenset[str]) -> Node:
        """What begins with a backslash, outside of sets."""
        reader = self.reader
        letter = reader.text[reader.at + 1 : reader.at + 2]
        if letter in "123456789" and letter:
            return self.back_reference(flags)
        simple = self.anchor(letter, flags)
        if simple is not None:
            reader.at += 2
            return simple
        if letter == "k":
            return self.named_reference(flags)
        if letter == "R":
            reader.at += 2
            end = sets.VERTICAL
            re2, python = sets.as_re2(end), sets.as_python(end)
            return Node(rf"(?:\r\n|{re2})", rf"(?:\r\n|{python})")
        found = character(reader, flags)
        return _char(found, flags) if isinstance(found, str) else _set(found, flags)

    def anchor(self, letter: str, flags: frozenset[str]) -> Node | None:
        if letter == "A":
            return Node(r"\A", r"\A", True)
        if letter == "z":
            return Node(r"\z", r"\Z", True)
        if letter == "Z":
            return self.line_end(flags - {"m"})
        if letter == "G":
            return self.lacks(r"\G", r"no `\G`", True)
        if letter == "X":
            return self.lacks(r"\X", r"no `\X`")
        if letter in ("b", "B") and letter:
            if self.reader.text.startswith("{g}", self.reader.at + 2):
                raise ValueError(r"`\b{g}` is not supported")
            self.hazards.add(Hazard.NOT_ASCII)
            return Node("\\" + letter, _EDGE if letter == "b" else _INNER_EDGE, True)
        return None

    def back_reference(self, flags: frozenset[str]) -> Node:
        text, at = self.reader.text, self.reader.at + 1
        number, at = int(text[at]), at + 1
        # As in Java: a further digit belongs to the number if there is such a group by now.
        while text[at : at + 1].isdigit() and number * 10 + int(text[at]) <= self.groups:
            number, at = number * 10 + int(text[at]), at + 1
        self.reader.at = at
        return self.reference(number, flags)

    def named_reference(self, flags: frozenset[str]) -> Node:
        found = re.compile(r"\\k<([A-Za-z][A-Za-z0-9]*)>").match(self.reader.text, self.reader.at)
        if found is None or found[1] not in self.names:
            raise ValueError(r"`\k` must name a group that was opened before, as in `\k<name>`")
        self.reader.at = found.end()
        return self.reference(self.names[found[1]], flags)

    def reference(self, number: int, flags: frozenset[str]) -> Node:
        text = f"(?:\\{number})" if number <= self.groups else "(?!)"
        if "i" in flags:
            text = f"(?i:{text})"
        return self.lacks(text, "no back-references", True)

    def line_begin(self, flags: frozenset[str]) -> Node:
        if "m" not in flags:
            return Node(r"\A", r"\A", True)
        self.hazards.add(Hazard.LINES)
        python = r"(?:(?:\A|(?<=\n))(?!\Z))" if "d" in flags else _AT_LINE_BEGIN
        return Node("(?m:^)", python, True)

    def line_end(self, flags: frozenset[str]) -> Node:
        if "m" in flags:
            self.hazards.add(Hazard.LINES)
            return Node("(?m:$)", r"(?=\n|\Z)" if "d" in flags else _AT_LINE_END, True)
        self.hazards.add(Hazard.ENDS_IN_TERMINATOR)
        return Node(r"\z", r"(?=\n?\Z)" if "d" in flags else _AT_END, True)


def _switched(flags: frozenset[str], switch: re.Match[str]) -> frozenset[str]:
    return (flags | set(switch["on"])) - set(switch["off"] or "")


def _sequence(nodes: list[Node]) -> Node:
    return Node(
        _joined([node.re2 for node in nodes], ""),
        "".join(node.python for node in nodes),
        all(node.nullable for node in nodes),
        any(node.captures for node in nodes),
        all(node.nullable for node in nodes) and any(node.shy for node in nodes),
    )


def _joined(texts: list[str | None], between: str) -> str | None:
    found = [text for text in texts if text is not None]
    return between.join(found) if len(found) == len(texts) else None


def _dot(flags: frozenset[str]) -> Node:
    if "s" in flags:
        return _set(sets.ALL, frozenset())
    return _set(sets.negated(sets.one("\n") if "d" in flags else sets.TERMINATORS), frozenset())


def _char(char: str, flags: frozenset[str]) -> Node:
    alone = sets.one(char)
    return _set(sets.folded(alone) if "i" in flags else alone, flags)


def _set(given: sets.Ranges, flags: frozenset[str]) -> Node:
    re2, python = sets.as_re2(given), sets.as_python(given)
    if "i" in flags and ("u" in flags or "U" in flags):
        return Node(f"(?i:{re2})", f"(?i:{python})")
    return Node(re2, python)
