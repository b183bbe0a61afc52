from __future__ import annotations

import pytest

from rayflume.component import Context
from rayflume.errors import ConfigError, OptionError
from rayflume.lake import storage_for, storage_options, storage_type


@pytest.mark.parametrize(
    ("path", "kind"),
    [("lake/clicks", "local"), ("/lake", "local"), ("file:///lake", "local"), ("s3://b/p", "s3"),
     ("s3a://b/p", "s3"), ("S3://b/p", "s3"), ("memory://x", "memory"), ("hdfs://n/p", "hdfs"),
     ("viewfs://m/p", "hdfs")],
)  # fmt: skip
def test_the_scheme_names_the_storage(path: str, kind: str) -> None:
    assert storage_type(path) == kind


def test_unknown_schemes_are_errors_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="unknown storage type 'gopher'; known: hdfs, local, memory, s3"
    ):
        storage_options("gopher://x", {})


def test_all_wrong_options_are_told_at_once_and_without_secrets() -> None:
    options = {"secret_kay": "hunter2", "access_key": 12345, "part_bytes": "1MiB", "retries": "x"}
    with pytest.raises(OptionError) as caught:
        storage_options("s3://lake", options)
    problems: tuple[str, ...] = caught.value.problems
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "storage.access_key",
        "storage.part_bytes",
        "storage.retries",
        "storage.secret_kay",
    ]
    text = str(caught.value)
    assert "storage.secret_kay: no such option of 's3'; did you mean 'secret_key'?" in text
    assert "5242880" in text
    assert "hunter2" not in text
    assert "12345" not in text


def test_the_place_comes_from_the_sink_alone() -> None:
    with pytest.raises(OptionError, match="the place of the lake is the option `path`"):
        storage_options("s3://lake", {"path": "s3://other"})


@pytest.mark.parametrize(
    "path", ["s3://", "s3://a", "s3://Bucket!/x", "s3://lake/../x", "s3://lake//x"]
)
def test_a_bad_bucket_or_prefix_is_told_with_its_value(path: str) -> None:
    with pytest.raises(OptionError, match=r"^path: ") as caught:
        storage_options(path, {})
    assert repr(path) in str(caught.value)


def test_half_of_a_key_pair_is_an_error_without_its_value() -> None:
    with pytest.raises(OptionError, match="go together") as caught:
        storage_options("s3://lake", {"secret_key": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://x", "http://", "http://x/path"])
def test_a_bad_endpoint_is_told(endpoint: str) -> None:
    with pytest.raises(OptionError, match=r"storage\.endpoint: write a URL"):
        storage_options("s3://lake", {"endpoint": endpoint})


def test_credentials_in_the_endpoint_are_refused_unseen() -> None:
    with pytest.raises(OptionError, match="do not belong in the URL") as caught:
        storage_options("s3://lake", {"endpoint": "http://key:hunter2@host:9000"})
    assert "hunter2" not in str(caught.value)


def test_a_storage_is_built_for_a_path(context: Context) -> None:
    storage = storage_for("lake", {}, context)
    storage.check()
    assert (context.directory / "lake" / "_rayflume" / "staging").is_dir()
