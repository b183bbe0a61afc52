"""Java's regular expressions over columns: RE2 for the rows where it finds what Java would, one
text at a time for the others.

Which rows those are is known beforehand (see Hazard), and mostly there are none: bodies rarely end
in a line end. Only a pattern that RE2 has no words for is matched row by row as a whole; the log
says so once, when the part starts. There each text has a second, and then counts as one that does
not match.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from rayflume.regexes import Hazard, JavaRegex, Patience, Replacement

_ENDS = ("\n", "\r", "\x85", "\u2028", "\u2029")
_OTHER_ENDS = r"[\r\x{85}\x{2028}\x{2029}]"

_log = logging.getLogger(__name__)
_R = TypeVar("_R")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Matcher:
    """One pattern over columns of texts. Null matches nothing and stays null."""

    regex: JavaRegex
    re2: str

    @staticmethod
    def of(pattern: str) -> Matcher:
        """Raises ValueError with a sentence for what is no pattern of Java's."""
        regex = JavaRegex.compile(pattern)
        return Matcher(regex, regex.re2 if _is_re2(regex.re2) else "")

    def warn(self, part: str, *, replaces: bool = False) -> None:
        """Tell the log if this pattern is slow. `replaces`: it is for `replaced`."""
        why = self.regex.why or ("" if self.re2 else "no room for a pattern that large")
        if replaces and self.regex.nullable:
            why = why or "another idea of replacing what may be empty"
        if why:
            text = "%s: the pattern %.200r is matched row by row, for RE2 has %s; that is slow"
            _log.warning(text, part, self.regex.pattern, why)

    def found(self, text: pa.StringArray) -> pa.BooleanArray:
        """Whether each holds a match; null counts as false."""

        def slow(row: str, limit_s: float) -> bool:
            return self.regex.find(row, limit_s) is not None

        whole = self._split(
            text,
            lambda rows: pc.match_substring_regex(rows, self.re2),
            lambda rows: pa.array(self.each(rows, slow, lambda _: False), pa.bool_()),
        )
        return pc.fill_null(whole, False)

    def each(
        self, rows: Iterable[_R], work: Callable[[_R, float], _T], instead: Callable[[_R], _T]
    ) -> list[_T]:
        """`work(row, seconds)` for each; where it takes too long, what `instead` says."""
        patience = Patience(self.regex.pattern)
        done = [patience.of(partial(work, row), instead(row)) for row in rows]
        patience.tell()
        return done

    def groups(self, text: pa.StringArray, count: int) -> pa.StructArray:
        """The first `count` groups of each text's first match, null where there is none.

        A group that took no part in the match is an empty text.
        """
        names = [f"g{number + 1}" for number in range(count)]
        kind = pa.struct([(name, pa.string()) for name in names])

        def fast(rows: pa.StringArray) -> pa.StructArray:
            struct = pc.extract_regex(rows, self.re2)
            mask = pc.is_null(struct) if struct.null_count else None
            columns = [struct.field(index) for index in range(count)]
            return pa.StructArray.from_arrays(columns, names, mask=mask)

        def slow(rows: Sequence[str]) -> pa.StructArray:
            return pa.array(self.each(rows, groups_of, lambda _: None), kind)

        def groups_of(text: str, limit_s: float) -> dict[str, str] | None:
            match = self.regex.find(text, limit_s)
            if match is None:
                return None
            return {name: match.group(i + 1) or "" for i, name in enumerate(names)}

        return self._split(text, fast, slow)

    def replaced(self, text: pa.StringArray, by: Replacement) -> pa.StringArray:
        """Every match replaced."""
        re2 = by.re2

        def slow(row: str, limit_s: float) -> str:
            return self.regex.replace_all(row, by, limit_s)

        return self._split(
            text,
            lambda rows: pc.replace_substring_regex(rows, self.re2, re2),
            lambda rows: pa.array(self.each(rows, slow, lambda row: row), pa.string()),
            slow_only=self.regex.nullable or re2 is None,
        )

    def _split(
        self,
        text: pa.StringArray,
        fast: Callable[[pa.StringArray], pa.Array],
        slow: Callable[[Sequence[str]], pa.Array],
        *,
        slow_only: bool = False,
    ) -> pa.Array:
        if not self.re2 or slow_only:
            odd = text.is_valid()
        else:
            odd = self._odd(text)
            if odd is None or not pc.any(odd).as_py():
                return fast(text)
        # Python per row, but only for rows of which RE2 is not known to find what Java finds
        done = slow(text.filter(odd).to_pylist())
        plain = pa.nulls(len(text), done.type) if not self.re2 or slow_only else fast(text)
        return _with_mask(plain, odd, done)

    def _odd(self, text: pa.StringArray) -> pa.BooleanArray | None:
        """The texts for which RE2 may find something else; None when there can be none."""
        odd: pa.BooleanArray | None = None
        hazards = self.regex.hazards
        if hazards & {Hazard.ENDS_IN_TERMINATOR, Hazard.LINES}:
            for end in _ENDS:
                odd = _either(odd, pc.ends_with(text, end))
        if Hazard.LINES in hazards:
            odd = _either(odd, pc.equal(pc.binary_length(text), 0))
            odd = _either(odd, pc.match_substring_regex(text, _OTHER_ENDS))
        if Hazard.NOT_ASCII in hazards:
            odd = _either(odd, pc.invert(pc.string_is_ascii(text)))
        return None if odd is None else pc.fill_null(odd, False)


def _either(one: pa.BooleanArray | None, other: pa.BooleanArray) -> pa.BooleanArray:
    return other if one is None else pc.or_(one, other)


def _with_mask(plain: pa.Array, mask: pa.BooleanArray, values: pa.Array) -> pa.Array:
    """`plain` with `values` where the mask is true; structs are not known to Arrow's own."""
    if not isinstance(plain, pa.StructArray):
        return pc.replace_with_mask(plain, mask, values)
    places = pc.subtract(pc.cumulative_sum(mask.cast(pa.int64())), 1)
    picked = values.take(pc.if_else(mask, places, pa.scalar(None, pa.int64())))
    return pc.if_else(mask, picked, plain)


def _is_re2(pattern: str) -> bool:
    if not pattern:
        return False
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True
