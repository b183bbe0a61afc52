"""Interceptor `regex_filter`: keep or drop events by their body."""

from __future__ import annotations

from typing import Annotated

import pyarrow.compute as pc
from pydantic import AfterValidator

from rayflume.batch import EventBatch
from rayflume.component import Component, component, option
from rayflume.interceptors._text import as_text, check_regex


@component
class RegexFilter(Component):
    """Keep only events whose body matches a regular expression, or drop just those.

    An event without a body matches nothing. Rows: some of in, same order; the dropped ones count
    as read. Raises: nothing.
    """

    regex: Annotated[str, AfterValidator(check_regex)] = option(
        "Regular expression (RE2) that is looked for anywhere in the body. Bytes that are not "
        "UTF-8 count as U+FFFD.",
        default=".*",
        example="^(GET|POST) ",
    )
    exclude_events: bool = option(
        "Drop the events that match and keep the others.", default=False, example=True
    )

    def intercept(self, batch: EventBatch) -> EventBatch:
        found = pc.match_substring_regex(as_text(batch.body), self.regex)
        found = pc.fill_null(found, False)
        return batch.filter(pc.invert(found) if self.exclude_events else found)
