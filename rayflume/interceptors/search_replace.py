"""Interceptor `search_replace`: other text in place of what a regular expression matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from rayflume.batch import EventBatch
from rayflume.charsets import Charset
from rayflume.component import Component, Context, component, option
from rayflume.interceptors._charset import (
    decode_value,
    decoded,
    encode_value,
    encoded,
    one_byte_each,
)
from rayflume.interceptors._text import JavaPattern, not_utf8
from rayflume.regexes import Replacement
from rayflume.regexes.columns import Matcher


@component
class SearchReplace(Component):
    """Replace every match of a regular expression in the body.

    Bytes that are not text in `charset` stay what they are, wherever they stand. An event without
    a body stays without one, and so does a body for which a pattern that is matched row by row
    takes longer than a second of CPU time: it stays as it is, and the log says so. (RE2 takes no
    such time: hide secrets with a pattern of which the log does not say that it is slow.) Rows: out
    = in, same order. Raises: nothing.
    """

    timeless: ClassVar[bool] = True

    search_pattern: JavaPattern = option(
        "Regular expression as in Java (and so in Flume). One with look-around, back-references or "
        "possessive quantifiers, and one that may match the empty text, is slow: it is applied row "
        "by row.",
        min_length=1,
        example=r"(\d{6})\d+",
    )
    replace_string: str = option(
        r"What takes the place of a match: `$1` or `${name}` is a group, `$0` the whole match, and "
        r"`\$` a dollar sign, as in Java.",
        default="",
        example="$1***",
    )
    charset: Charset = option(
        "Character set of the bodies. One with several bytes to a character, other than UTF-8, is "
        "slow: bodies are decoded row by row.",
        default="utf-8",
        example="ISO-8859-1",
    )

    @model_validator(mode="after")
    def _groups_are_there(self) -> SearchReplace:
        Matcher.of(self.search_pattern).regex.replacement(self.replace_string)
        return self

    def build(self, context: Context) -> SearchReplaceInterceptor:
        matcher = Matcher.of(self.search_pattern)
        by = matcher.regex.replacement(self.replace_string)
        charset = self.charset
        if charset == "ascii":
            # All its bytes are those of ISO-8859-1, and the others can stay what they are.
            by, charset = by.in_ascii(), "iso8859-1"
        matcher.warn(f"{context.part}: search_replace", replaces=True)
        return SearchReplaceInterceptor(matcher, by, charset)


@dataclass(frozen=True)
class SearchReplaceInterceptor:
    """`charset`: as Python spells it."""

    matcher: Matcher
    by: Replacement
    charset: str

    def intercept(self, batch: EventBatch) -> EventBatch:
        return batch.with_body(self._replaced(batch.body))

    def _replaced(self, body: pa.BinaryArray) -> pa.BinaryArray:
        if self.charset == "utf-8":
            return self._in_utf8(body)
        if one_byte_each(self.charset):
            try:
                text = decoded(body, self.charset)
            except UnicodeDecodeError:
                return self._row_by_row(body, self.charset)
            return encoded(self.matcher.replaced(text, self.by), self.charset)
        return self._row_by_row(body, self.charset)

    def _in_utf8(self, body: pa.BinaryArray) -> pa.BinaryArray:
        try:
            return self.matcher.replaced(body.cast(pa.string()), self.by).cast(pa.binary())
        except pa.ArrowInvalid:
            bad = not_utf8(body)
        good = body.filter(pc.invert(bad)).cast(pa.string())
        mended = self._row_by_row(body.filter(bad), "utf-8")
        done = self.matcher.replaced(good, self.by).cast(pa.binary())
        whole = pc.replace_with_mask(body, pc.invert(bad), done)
        return pc.replace_with_mask(whole, bad, mended)

    def _row_by_row(self, body: pa.BinaryArray, charset: str) -> pa.BinaryArray:
        """Bytes that are no text are characters of their own on the way, and bytes again."""

        def replaced(row: bytes | None, limit_s: float) -> bytes | None:
            text = None if row is None else decode_value(row, charset)
            if row is None or text is None:
                return row
            changed = self.matcher.regex.replace_all(text, self.by, limit_s)
            return row if changed == text else encode_value(changed, charset)

        return pa.array(self.matcher.each(body.to_pylist(), replaced, lambda row: row), pa.binary())
