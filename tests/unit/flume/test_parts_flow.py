"""Tables of interceptors, selectors, and HTTP: what cannot be said property by property."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rayflume.component import lookup
from rayflume.flume import names
from rayflume.flume.names import FlumePart, Prop, Severity

UUID = "org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"
BLOB = "org.apache.flume.sink.solr.morphline.BlobHandler"
MILLIS = "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer"


def part(kind: str, name: str) -> FlumePart:
    found = names.lookup(kind, name)
    assert found is not None
    return found


def finished(
    found: FlumePart, options: dict[str, object], given: Mapping[str, str] | None = None
) -> tuple[dict[str, object], list[tuple[Severity, str]]]:
    """The options as `finish` leaves them, and what it says."""
    assert found.finish is not None
    said = list(found.finish(options, given or {}))  # type: ignore[arg-type]
    return options, [(remark.severity, remark.name) for remark in said]


@pytest.mark.parametrize(
    ("given", "names_", "said"),
    [
        ({"fromList": " a , b,,c "}, [" a", "b", "c "], []),
        ({"fromList": "a|b", "fromListSeparator": r"\|"}, ["a", "b"], []),
        ({"fromList": "a,b", "fromListSeparator": "("}, "a,b",
         [(Severity.ERROR, "fromListSeparator")]),
    ],
)  # fmt: skip
def test_headers_to_remove_are_parted_by_a_regular_expression(
    given: dict[str, str], names_: object, said: object
) -> None:
    found = part("interceptor", "remove_header")
    assert finished(found, {"from_list": given["fromList"]}, given) == ({"from_list": names_}, said)


def test_removing_nothing_is_told_and_removes_nothing() -> None:
    options, said = finished(part("interceptor", "remove_header"), {})
    assert said == [(Severity.WARNING, "")]
    cls = lookup("interceptor", "remove_header").model_validate(options)
    assert cls.model_dump()["matching"] == "(?!)"


def test_serializers_beyond_the_groups_are_not_used_as_in_flume() -> None:
    found = part("interceptor", "regex_extractor")
    both = [{"name": "one"}, {"name": "two"}]
    options, said = finished(found, {"regex": "(a)", "serializers": both})
    assert options["serializers"] == both[:1] and said == [(Severity.WARNING, "serializers")]
    assert finished(found, {"regex": "(a)(b)", "serializers": both})[1] == []
    assert finished(found, {"regex": "a", "serializers": both})[1] == [(Severity.ERROR, "regex")]
    assert finished(found, {"regex": "(", "serializers": both})[1] == [(Severity.ERROR, "regex")]


def test_times_are_in_the_zone_of_the_process() -> None:
    found = part("regex_extractor_serializer", MILLIS)
    assert finished(found, {"pattern": "yyyy"}) == ({"pattern": "yyyy", "timezone": "local"}, [])


@pytest.mark.parametrize(
    ("pattern", "good"), [("yyyy-MM-dd'T'HH 'q' ww", True), ("yyyy-qq", False)]
)
def test_a_letter_that_joda_has_not_drops_the_source_as_in_flume(pattern: str, good: bool) -> None:
    prop = part("regex_extractor_serializer", MILLIS).find("pattern")
    assert prop is not None
    if good:
        assert prop.read(pattern) == pattern
    else:
        with pytest.raises(ValueError, match="no time pattern of Joda's, which has no q"):
            prop.read(pattern)


def test_the_default_serializer_is_found_in_any_case() -> None:
    assert part("regex_extractor_serializer", "DEFAULT").type == "default"
    assert part("interceptor", UUID).type == "uuid"


@pytest.mark.parametrize(
    ("rollback", "default", "warned"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"200": False}, True, False),
        ({"2XX": False}, True, False),
        ({"2XX": False, "200": True}, True, True),
        ({"4XX": False}, True, True),
    ],
)
def test_a_sink_that_rolls_success_back_is_warned_of(
    rollback: dict[str, bool], default: bool, warned: bool
) -> None:
    given = {"rollback": rollback, "default_rollback": default, "endpoint": "http://h/"}
    options, said = finished(part("sink", "http"), dict(given))
    assert bool(said) == warned
    made = lookup("sink", "http").model_validate(options)
    assert made.model_dump()["backoff"] == made.model_dump()["increment_metrics"] == {}
    assert made.model_dump()["connections"] == 1


@pytest.mark.parametrize(
    ("handler", "limits"),
    [
        ({"handler": "json"}, ("64MiB", "64MiB", f"{128 * 2**20}B")),
        ({"handler": "blob"}, ("1GiB", "1GiB", f"{128 * 2**20}B")),
        ({"handler": "blob", "max_blob_length": "2000000000B"}, ("1GiB", "1GiB", f"{2**30}B")),
    ],
)
def test_requests_to_flumes_server_may_be_large(
    handler: dict[str, object], limits: tuple[str, ...]
) -> None:
    options, said = finished(part("source", "http"), {"port": 0, **handler})
    assert options["dangerously_allow_anonymous"] is True
    assert all(severity is Severity.NOTE for severity, _ in said)
    names_ = ("max_request_bytes", "max_record_bytes", "max_pending_bytes")
    assert tuple(options[name] for name in names_) == limits
    lookup("source", "http").model_validate(options)._check()  # type: ignore[attr-defined]


def test_client_certificates_need_tls_and_authorities() -> None:
    wanted = {"bind": "127.0.0.1", "client_certificates": "required", "keystore": "k.p12"}
    options, _ = finished(part("source", "http"), {**wanted, "ssl": False})
    assert "client_certificates" not in options
    _, said = finished(part("source", "http"), {**wanted, "ssl": True})
    assert (Severity.ERROR, "SslContextFactory.needClientAuth") in said


@pytest.mark.parametrize(
    ("kind", "name", "prop", "option"),
    [
        ("channel_selector", "multiplexing", "mapping.10.0.0.1", "mapping.10.0.0.1"),
        ("channel_selector", "multiplexing", "optional.a b", "optional.a b"),
        ("channel_selector", "multiplexing", "default", "default"),
        ("sink", "http", "backoff.4XX", "backoff.4XX"),
        ("source", "http", "SslContextFactory.keyStorePath", "keystore"),
        ("source", "http", "ServerConnector.idleTimeout", "idle_timeout"),
        ("source", "http", "keystorePassword", "keystore_password"),
    ],
)
def test_properties_lead_to_options(kind: str, name: str, prop: str, option: str) -> None:
    found = part(kind, name).find(prop)
    assert isinstance(found, Prop)
    assert ".".join(found.path(found.match(prop) or {})) == option


@pytest.mark.parametrize("prop", ["ServerConnector.port", "QueuedThreadPool.maxThreads"])
def test_settings_of_jetty_have_a_reason(prop: str) -> None:
    found = part("source", "http").find(prop)
    assert found is not None and not found.option and "Jetty is not here" in found.why
    assert part("http_source_handler", BLOB).find("maxBlobLength") is not None


@pytest.mark.parametrize("folders", ["", ",", " , "])
def test_a_list_of_data_directories_that_names_none_is_the_default(folders: str) -> None:
    options, _ = finished(part("channel", "file"), {}, {"dataDirs": folders})
    assert options["directory"] == "~/.flume/file-channel/data/rayflume"
