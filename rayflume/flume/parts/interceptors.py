"""The interceptors. Flume user guide, section Flume Interceptors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rayflume.flume.names import FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import charset, flag, pattern
from rayflume.regexes import JavaRegex

if TYPE_CHECKING:
    from rayflume.interfaces import Json

_PACKAGE = "org.apache.flume.interceptor."
_COMMAS = r"\s*,\s*"
_NOTHING = "(?!)"
"""Matches no name."""
_JODA = frozenset("GCYxweEyDMdaKhHkmsSzZ")
_QUOTED = re.compile("'[^']*'?")


def _names_from_list(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    separator = given.get("fromListSeparator", _COMMAS)
    try:
        pattern = JavaRegex.compile(separator).matcher
    except ValueError as error:
        yield Remark(str(error), Severity.ERROR, "fromListSeparator")
        return
    names: list[Json] = [name for name in pattern.split(given.get("fromList", "")) if name]
    options.pop("from_list", None)
    if names:
        options["from_list"] = names
    if not (names or options.get("with_name") or options.get("matching")):
        options["matching"] = _NOTHING
        yield Remark("it removes nothing: give withName, fromList or matching")


def _groups_for_serializers(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    serializers, regex = options.get("serializers"), options.get("regex")
    if not isinstance(serializers, list) or not isinstance(regex, str):
        return
    try:
        groups = JavaRegex.compile(regex).groups
    except ValueError as error:
        yield Remark(str(error), Severity.ERROR, "regex")
        return
    if groups == 0:
        yield Remark(
            "the regular expression has no groups, so there is nothing to write into headers; put "
            "`(` and `)` round what each serializer takes",
            Severity.ERROR,
            "regex",
        )
    elif groups < len(serializers):
        options["serializers"] = serializers[:groups]
        text = f"the regular expression has {groups} groups; further serializers are not used"
        yield Remark(text, Severity.WARNING, "serializers")


def _joda(value: str) -> str:
    """A time pattern. Raises ValueError for letters that Joda does not know either; those that
    only rayflume lacks are found when the serializer is made.
    """
    unknown = set(re.findall("[A-Za-z]", _QUOTED.sub("", value))) - _JODA
    if unknown:
        shown = " ".join(sorted(unknown))
        raise ValueError(f"{value!r} is no time pattern of Joda's, which has no {shown}")
    return value


def _in_local_zone(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    options["timezone"] = "local"
    return ()


PARTS = (
    FlumePart(
        kind="interceptor",
        types=("timestamp",),
        java_class=f"{_PACKAGE}TimestampInterceptor$Builder",
        type="timestamp",
        props=(
            Prop("headerName", "timestamp", "header_name"),
            Prop("preserveExisting", "false", "preserve_existing", flag),
        ),
    ),
    FlumePart(
        kind="interceptor",
        types=("host",),
        java_class=f"{_PACKAGE}HostInterceptor$Builder",
        type="host",
        props=(
            Prop("preserveExisting", "false", "preserve_existing", flag),
            Prop("useIP", "true", "use_ip", flag),
            Prop("hostHeader", "host", "host_header"),
        ),
    ),
    FlumePart(
        kind="interceptor",
        types=("static",),
        java_class=f"{_PACKAGE}StaticInterceptor$Builder",
        type="static",
        props=(
            Prop("preserveExisting", "true", "preserve_existing", flag),
            Prop("key", "key", "key"),
            Prop("value", "value", "value"),
        ),
    ),
    FlumePart(
        kind="interceptor",
        types=("remove_header",),
        java_class=f"{_PACKAGE}RemoveHeaderInterceptor$Builder",
        type="remove_header",
        props=(
            Prop("withName", option="with_name"),
            Prop("fromList", option="from_list"),
            Prop(
                "fromListSeparator",
                _COMMAS,
                severity=Severity.NOTE,
                why="the names of fromList are parted by it once, when the file is read",
            ),
            Prop("matching", option="matching", read=pattern),
        ),
        finish=_names_from_list,
    ),
    FlumePart(
        kind="interceptor",
        types=(),
        java_class="org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder",
        type="uuid",
        props=(
            Prop("headerName", "id", "header_name"),
            Prop("preserveExisting", "true", "preserve_existing", flag),
            Prop("prefix", "", "prefix"),
        ),
    ),
    FlumePart(
        kind="interceptor",
        types=("search_replace",),
        java_class=f"{_PACKAGE}SearchAndReplaceInterceptor$Builder",
        type="search_replace",
        props=(
            Prop("searchPattern", option="search_pattern", read=pattern, required=True),
            Prop("replaceString", "", "replace_string"),
            Prop("charset", "UTF-8", "charset", charset),
        ),
    ),
    FlumePart(
        kind="interceptor",
        types=("regex_filter",),
        java_class=f"{_PACKAGE}RegexFilteringInterceptor$Builder",
        type="regex_filter",
        props=(
            Prop("regex", ".*", "regex", pattern),
            Prop("excludeEvents", "false", "exclude_events", flag),
        ),
    ),
    FlumePart(
        kind="interceptor",
        types=("regex_extractor",),
        java_class=f"{_PACKAGE}RegexExtractorInterceptor$Builder",
        type="regex_extractor",
        props=(
            Prop("regex", option="regex", read=pattern, required=True),
            Prop(
                "serializers",
                option="serializers",
                nested="regex_extractor_serializer",
                many=True,
                required=True,
            ),
        ),
        finish=_groups_for_serializers,
    ),
    FlumePart(
        kind="regex_extractor_serializer",
        types=("DEFAULT",),
        java_class=f"{_PACKAGE}RegexExtractorInterceptorPassThroughSerializer",
        type="default",
    ),
    FlumePart(
        kind="regex_extractor_serializer",
        types=(),
        java_class=f"{_PACKAGE}RegexExtractorInterceptorMillisSerializer",
        type="millis",
        props=(
            Prop(
                "pattern",
                option="pattern",
                read=_joda,
                required=True,
                why="a text of another form sets no header; in Flume it fails its batch for ever",
            ),
        ),
        finish=_in_local_zone,
    ),
)
