r"""Java's regular expressions, and what they are in RE2 and in Python.

Flume's options hold patterns of `java.util.regex.Pattern` (Java 8 to 18). `JavaRegex` reads one and
writes it down anew twice: for RE2, which Arrow runs over whole columns, and for Python's `regex`,
which knows all of Java's constructs and goes row by row. Sets of characters become sets of code
points on the way, so that `\\s`, `.`, `(?i)` or `[a-z&&[^b]]` mean what they mean in Java and not
what either engine makes of them.

RE2 has no look-around, no back-references, no possessive quantifiers; such patterns have only the
second form. A few anchors mean the same in both only for most texts; `Hazard` says for which not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import regex

from rayflume.regexes._parse import Hazard, parse
from rayflume.regexes._patience import TEXT_S, Deadline, Patience
from rayflume.regexes._replacement import Replacement, parse_replacement

__all__ = ["Hazard", "JavaRegex", "Patience", "Replacement"]


@dataclass(frozen=True)
class JavaRegex:
    """One pattern, ready. `groups`: how many; group i is named `g<i>` in `re2`.

    `re2`: "" when RE2 cannot do what the pattern asks for, and then `why` says what that is.
    `hazards`: kinds of texts for which `re2` may find something else than Java does.
    `nullable`: it may match the empty text; of those RE2 replaces other ones than Java.
    """

    pattern: str
    re2: str
    python: str
    groups: int
    names: tuple[tuple[str, int], ...] = ()
    hazards: frozenset[Hazard] = frozenset()
    nullable: bool = False
    why: str = ""

    @staticmethod
    def compile(pattern: str) -> JavaRegex:
        """Raises ValueError with a sentence for what Java would not take, or what neither engine
        can do.
        """
        found = parse(pattern)
        made = JavaRegex(
            pattern,
            found.re2 or "",
            found.python,
            found.groups,
            tuple(found.names.items()),
            frozenset(found.hazards),
            found.nullable,
            found.why,
        )
        try:
            _ = made.matcher
        except regex.error as error:
            raise ValueError(f"the regular expression {pattern!r} is not usable: {error}") from None
        return made

    @cached_property
    def matcher(self) -> regex.Pattern[str]:
        """For single texts that nobody else chose; what others sent goes through the methods."""
        return regex.compile(self.python, regex.VERSION0)

    def find(self, text: str, limit_s: float = TEXT_S, start: int = 0) -> regex.Match[str] | None:
        """Java's `find`. Raises TimeoutError after so much CPU time."""
        return self.matcher.search(text, start, timeout=limit_s, concurrent=True)

    def matches(self, text: str) -> bool:
        """Java's `matches`: the whole text. One for which it takes too long does not match."""
        try:
            found = self.matcher.fullmatch(text, timeout=TEXT_S, concurrent=True)
        except TimeoutError:
            return False
        return found is not None

    def replace_all(self, text: str, by: Replacement, limit_s: float = TEXT_S) -> str:
        """Every match replaced, as `Matcher.replaceAll` does it. Raises TimeoutError after about so
        much CPU time.
        """
        pieces, copied, start = [], 0, 0
        deadline = Deadline(limit_s)
        while start <= len(text) and (match := self.find(text, limit_s, start)) is not None:
            deadline.check()
            pieces += [text[copied : match.start()], by.of(match)]
            copied = match.end()
            # Behind an empty match Java goes on with the next character, Python does not.
            start = match.end() + (match.start() == match.end())
        return "".join([*pieces, text[copied:]])

    def replacement(self, text: str) -> Replacement:
        r"""Java's replacement text (`$1`, `${name}`, `\$`). Raises ValueError with a sentence."""
        return parse_replacement(text, self.groups, dict(self.names))
