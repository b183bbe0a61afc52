"""Interceptor `regex_extractor`: parts of the body as headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.interceptors._groups import name_groups
from rayflume.interceptors._millis import MillisPattern
from rayflume.interceptors._text import as_text, check_regex


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Serializer(BaseModel):
    """What becomes of one group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = option("Header that receives the group.", min_length=1, example="status")
    type: Annotated[Literal["default", "millis"], BeforeValidator(_lower)] = option(
        "`default` takes the text as it is; `millis` reads it as a time by `pattern` and writes "
        "milliseconds since 1970, which time escapes and `event_time` understand.",
        default="default",
        example="millis",
    )
    pattern: str = option(
        "Form of the time for `millis`, in the letters of Flume (Joda): y year, M month (MMM: "
        "English name), d day, H hour, m minute, s second, S fraction, Z offset, E day name; other "
        "text in single quotes. A text of another form sets no header.",
        default="",
        example="dd/MMM/yyyy:HH:mm:ss Z",
    )
    timezone: str = option(
        "Zone of times without an offset. (Flume takes that of the process, which may differ from "
        "host to host.)",
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

    def compiled(self) -> MillisPattern:
        """The time pattern, made ready."""
        return MillisPattern.compile(self.pattern, self.timezone)


@component
class RegexExtractor(Component):
    """Write the groups of a regular expression's first match in the body into headers.

    An event that does not match, or has no body, keeps its headers as they are. Rows: out = in,
    same order. Raises: nothing.
    """

    regex: Annotated[str, AfterValidator(check_regex)] = option(
        "Regular expression (RE2) with groups, looked for anywhere in the body. Bytes that are not "
        "UTF-8 count as U+FFFD; a group that took no part in the match gives an empty text.",
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
        count = name_groups(self.regex)[1]
        if count < len(self.serializers):
            raise ValueError(
                f"`regex` has {count} groups for {len(self.serializers)} serializers; put `(` and "
                "`)` round what each of them takes"
            )
        check_regex(name_groups(self.regex)[0])
        return self

    def headers_written(self) -> dict[str, bool]:
        return {one.name: True for one in self.serializers}

    def build(self, context: Context) -> RegexExtractorInterceptor:
        times = [one.compiled() if one.type == "millis" else None for one in self.serializers]
        names = tuple(one.name for one in self.serializers)
        return RegexExtractorInterceptor(name_groups(self.regex)[0], names, tuple(times))


@dataclass(frozen=True)
class RegexExtractorInterceptor:
    """`regex` has only named groups; `names` and `times` belong to its first ones."""

    regex: str
    names: tuple[str, ...]
    times: tuple[MillisPattern | None, ...]

    def intercept(self, batch: EventBatch) -> EventBatch:
        found = pc.extract_regex(as_text(batch.body), self.regex)
        matched = found.is_valid()
        nothing = pa.scalar(None, pa.string())
        for index, (name, time) in enumerate(zip(self.names, self.times, strict=True)):
            column = pc.if_else(matched, found.field(index), nothing)
            if time is not None:
                column = time.parse(column)
            if column.null_count < len(column):
                batch = batch.with_header(name, pc.coalesce(column, batch.header(name)))
        return batch
