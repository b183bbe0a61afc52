"""Interceptor `regex_filter`: keep or drop events by what their body holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow.compute as pc

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.interceptors._text import JavaPattern, as_text
from rayflume.regexes.columns import Matcher


@component
class RegexFilter(Component):
    """Keep only the events whose body matches a regular expression, or drop just those.

    An event without a body matches nothing, nor does one for which a pattern that is matched row by
    row takes longer than a second of CPU time. Rows: some of in, same order; the dropped ones count
    as read. Raises: nothing.
    """

    timeless: ClassVar[bool] = True

    regex: JavaPattern = option(
        "Regular expression as in Java (and so in Flume) that is looked for anywhere in the body. "
        "Bytes that are not UTF-8 count as U+FFFD. One with look-around, back-references or "
        "possessive quantifiers is slow: it is matched row by row.",
        default=".*",
        example="^(GET|POST) ",
    )
    exclude_events: bool = option(
        "Drop the events that match and keep the others.", default=False, example=True
    )

    def build(self, context: Context) -> RegexFilterInterceptor:
        matcher = Matcher.of(self.regex)
        matcher.warn(f"{context.part}: regex_filter")
        return RegexFilterInterceptor(matcher, self.exclude_events)


@dataclass(frozen=True)
class RegexFilterInterceptor:
    """`exclude`: drop what matches."""

    matcher: Matcher
    exclude: bool

    def intercept(self, batch: EventBatch) -> EventBatch:
        found = self.matcher.found(as_text(batch.body))
        return batch.filter(pc.invert(found) if self.exclude else found)
