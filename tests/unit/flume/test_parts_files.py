"""The table of the file sources: what cannot be said property by property."""

from __future__ import annotations

from typing import Any

import pytest

from rayflume.component import lookup
from rayflume.flume import names
from rayflume.flume.names import Remark, Severity


def finished(type_name: str, options: dict[str, Any], **given: str) -> list[Remark]:
    part = names.lookup("source", type_name)
    assert part is not None and part.finish is not None
    return list(part.finish(options, {name.replace("_", "."): v for name, v in given.items()}))


STRESS = "org.apache.flume.source.StressSource"


@pytest.mark.parametrize("type_name", ["spooldir", "taildir", "exec", "seq", STRESS])
@pytest.mark.parametrize("given", [{}, {"batchSize": "7"}])
def test_batch_sizes_count_only_when_they_are_given(type_name: str, given: dict[str, str]) -> None:
    options: dict[str, Any] = {"batch_size": 7, "filegroups": {"a": "/x/y"}}
    finished(type_name, options, filegroups="a", **given)
    assert options.get("batch_size") == (7 if given else None)


def test_spooldir_is_as_flumes() -> None:
    options: dict[str, Any] = {"deserializer": {"type": "line", "max_line_length": 2048}}
    assert finished("spooldir", options) == []
    assert options["empty_file_row"] is True
    assert options["strip_carriage_return"] is False
    assert options["deserializer"]["max_line_length"] == 2048


@pytest.mark.parametrize(
    ("deserializer", "given", "length"),
    [
        ({"type": "line", "max_line_length": 2048}, {"bufferMaxLineLength": "10"}, 10),
        (
            {"type": "line", "max_line_length": 20},
            {"bufferMaxLineLength": "10", "deserializer_maxLineLength": "20"},
            20,
        ),
        ({"type": "avro"}, {"bufferMaxLineLength": "10"}, None),
        (None, {"bufferMaxLineLength": "10"}, 10),
    ],
)
def test_the_old_name_of_the_line_length(
    deserializer: dict[str, Any] | None, given: dict[str, str], length: int | None
) -> None:
    options: dict[str, Any] = {"deserializer": deserializer} if deserializer else {}
    assert finished("spooldir", options, **given) == []
    assert options["deserializer"].get("max_line_length") == length
    assert options["deserializer"]["type"] in ("line", "avro")


def test_a_blob_that_is_too_large_for_a_row() -> None:
    options: dict[str, Any] = {"deserializer": {"type": "blob"}, "decode_error_policy": "fail"}
    assert finished("spooldir", dict(options)) == []
    [remark] = finished("spooldir", options, deserializer_maxBlobLength="1000000000")
    assert (remark.name, remark.severity) == ("deserializer.maxBlobLength", Severity.WARNING)


def test_policies_that_nothing_obeys_are_told() -> None:
    options: dict[str, Any] = {"deserializer": {"type": "avro"}, "decode_error_policy": "ignore"}
    [remark] = finished("spooldir", options, decodeErrorPolicy="IGNORE")
    assert (remark.name, remark.severity) == ("decodeErrorPolicy", Severity.NOTE)
    assert "decode_error_policy" not in options


@pytest.mark.parametrize(
    ("listed", "kept", "remarks"),
    [
        ("a b", ["a", "b"], []),
        ("a", ["a"], [("filegroups.b", Severity.WARNING)]),
        ("a b c", ["a", "b"], [("filegroups", Severity.WARNING)]),
        ("c", [], [("filegroups", Severity.ERROR), ("filegroups.a", Severity.WARNING),
                   ("filegroups.b", Severity.WARNING)]),
    ],
)  # fmt: skip
def test_taildir_reads_the_groups_that_are_listed(
    listed: str, kept: list[str], remarks: list[tuple[str, Severity]]
) -> None:
    groups = {"a": "/x/a.*", "b": "/x/b.*"}
    options: dict[str, Any] = {"filegroups": groups, "headers": {"a": {"k": "v"}, "b": {}}}
    found = finished("taildir", options, filegroups=listed)
    assert [(remark.name, remark.severity) for remark in found] == remarks
    assert list(options["filegroups"]) == kept
    assert set(options["headers"]) <= set(kept)


def test_taildir_has_flumes_last_lines_and_no_starving() -> None:
    options: dict[str, Any] = {
        "filegroups": {"a": "/x/a"}, "idle_timeout": "5s", "max_batch_count": 10**9,
    }  # fmt: skip
    assert finished("taildir", options, filegroups="a") == []
    assert options["unterminated_timeout"] == "5s"
    assert "max_batch_count" not in options
    lookup("source", "taildir").model_validate(options)


def test_s15_a_command_of_a_flume_file_is_allowed_and_noted() -> None:
    options: dict[str, Any] = {"command": "vmstat 5"}
    [remark] = finished("exec", options)
    assert (remark.name, remark.severity) == ("command", Severity.NOTE)
    lookup("source", "exec").model_validate(options)


@pytest.mark.parametrize(
    ("part", "name", "text", "value"),
    [
        ("seq", "totalEvents", "9223372036854775807", None),
        ("seq", "totalEvents", "12", 12),
        ("seq", "totalEvents", "-1", 0),
        (STRESS, "maxTotalEvents", "-1", None),
        (STRESS, "maxTotalEvents", "0", 0),
        ("taildir", "maxBatchCount", "9223372036854775807", 10**9),
        ("taildir", "maxBatchCount", "0", 1),
        ("spooldir", "deletePolicy", "IMMEDIATE", "immediate"),
        ("spooldir", "decodeErrorPolicy", "replace", "replace"),
        ("spooldir", "inputCharset", "windows-1252", "windows-1252"),
        ("spooldir", "includePattern", r"[a-z&&[^b]]++", r"[a-z&&[^b]]++"),
    ],
)
def test_values(part: str, name: str, text: str, value: object) -> None:
    found = names.lookup("source", part)
    assert found is not None
    prop = found.find(name)
    assert prop is not None
    assert prop.read(text) == value


@pytest.mark.parametrize(
    ("part", "name", "text", "message"),
    [
        ("spooldir", "inputCharset", "UTF-9", "did you mean UTF-8"),
        ("spooldir", "ignorePattern", "(", "is not a regular expression"),
        ("spooldir", "batchSize", "0", "is not positive"),
        ("spooldir", "deletePolicy", "later", "none of never, immediate"),
        ("taildir", "filegroups.a", "/x/[", "is not a regular expression"),
        ("exec", "charset", "x", "unknown character set"),
    ],
)
def test_values_that_drop_the_part(part: str, name: str, text: str, message: str) -> None:
    found = names.lookup("source", part)
    assert found is not None
    prop = found.find(name)
    assert prop is not None
    with pytest.raises(ValueError, match=message):
        prop.read(text)
