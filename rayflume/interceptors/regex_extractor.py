"""Interceptor `regex_extractor`: parts of the body as headers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, model_validator

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.interceptors._text import JavaPattern, as_text
from rayflume.regexes.columns import Matcher
from rayflume.time_patterns import MillisPattern
from rayflume.units import ANY_CASE, local_zone


class Serializer(BaseModel):
    """What becomes of one group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = option("Header that receives the group.", min_length=1, example="status")
    type: Annotated[Literal["default", "millis"], ANY_CASE] = option(
        "`default` takes the text as it is; `millis` reads it as a time by `pattern` and writes "
        "milliseconds since 1970, which time escapes and `event_time` understand.",
        default="default",
        example="millis",
    )
    pattern: str = option(
        "Form of the time for `millis`, in the letters of Flume (Joda): y year (yy: two digits, "
        "the nearest such year), M month (MMM: English name), d day, D day of the year, H hour, k "
        "hour from 1 to 24, h and K hour of the half day with a (AM or PM), m minute, s second, S "
        "fraction, Z offset, E day name; other text in single quotes. A text of another form sets "
        "no header. (In Flume it fails the whole batch, for ever.)",
        default="",
        example="dd/MMM/yyyy:HH:mm:ss Z",
    )
    timezone: str = option(
        "Zone of times without an offset; `local` is that of the agent's process, as in Flume, and "
        "may differ from host to host.",
        default="UTC",
        example="Europe/Oslo",
    )

    @model_validator(mode="after")
    def _pattern_fits(self) -> Serializer:
        if self.type == "millis":
            if not self.pattern:
                raise ValueError(f"the serializer {self.name!r} is `millis` and needs a `pattern`")
            self.compiled()
        elif self.pattern:
            raise ValueError(
                f"the serializer {self.name!r} has a `pattern`, which only `type: millis` reads"
            )
        return self

    def compiled(self, this_year: int = 2000) -> MillisPattern:
        """The time pattern, made ready; years of two digits are near `this_year`."""
        zone = local_zone() if self.timezone == "local" else self.timezone
        return MillisPattern.compile(self.pattern, zone, this_year)


@component
class RegexExtractor(Component):
    """Write the groups of a regular expression's first match in the body into headers.

    An event that does not match, or has no body, keeps its headers as they are; one for which a
    pattern that is matched row by row takes longer than a second of CPU time does not match. Rows:
    out = in, same order. Raises: nothing.
    """

    regex: JavaPattern = option(
        "Regular expression as in Java (and so in Flume) with groups, looked for anywhere in the "
        "body. Bytes that are not UTF-8 count as U+FFFD; a group that took no part in the match "
        "gives an empty text. One with look-around, back-references or possessive quantifiers is "
        "slow: it is matched row by row.",
        example='" ([0-9]{3}) ([0-9]+)',
    )
    serializers: tuple[Serializer, ...] = option(
        "One for each group, in the order in which the groups open; groups beyond the last "
        "serializer are not used.",
        min_length=1,
        example=[{"name": "status"}, {"name": "bytes"}],
    )

    @model_validator(mode="after")
    def _groups_suffice(self) -> RegexExtractor:
        count = Matcher.of(self.regex).regex.groups
        if count < len(self.serializers):
            raise ValueError(
                f"`regex` has {count} groups for {len(self.serializers)} serializers; put `(` and "
                "`)` round what each of them takes"
            )
        return self

    def headers_written(self) -> dict[str, bool]:
        return {one.name: True for one in self.serializers}

    def build(self, context: Context) -> RegexExtractorInterceptor:
        year = datetime.fromtimestamp(context.clock.now_ms() / 1000, UTC).year
        times = [one.compiled(year) if one.type == "millis" else None for one in self.serializers]
        names = tuple(one.name for one in self.serializers)
        matcher = Matcher.of(self.regex)
        matcher.warn(f"{context.part}: regex_extractor")
        return RegexExtractorInterceptor(matcher, names, tuple(times))


@dataclass(frozen=True)
class RegexExtractorInterceptor:
    """`names` and `times` belong to the first groups of `matcher`."""

    matcher: Matcher
    names: tuple[str, ...]
    times: tuple[MillisPattern | None, ...]

    def intercept(self, batch: EventBatch) -> EventBatch:
        found = self.matcher.groups(as_text(batch.body), len(self.names))
        matched = found.is_valid()
        nothing = pa.scalar(None, pa.string())
        for index, (name, time) in enumerate(zip(self.names, self.times, strict=True)):
            column = pc.if_else(matched, found.field(index), nothing)
            if time is not None:
                column = time.parse(column)
            if column.null_count < len(column):
                batch = batch.with_header(name, pc.coalesce(column, batch.header(name)))
        return batch
