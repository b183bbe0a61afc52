"""Credentials that expire while a sink runs: AWS's chain is asked anew, nothing is restarted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from servers import S3Server, Scripted, scripted_server

from rayflume.component import Context
from rayflume.errors import StorageDenied, StorageUnavailable
from rayflume.lake import storage_for
from rayflume.naming import data_name
from rayflume.storage.s3 import S3Storage

pytestmark = pytest.mark.s3
LISTED = (200, "<ListBucketResult/>")
EXPIRED = (400, "<Error><Code>ExpiredToken</Code><Message>m</Message></Error>")
DELIVERY = "00000000000000aa-1-7"
Open = Callable[..., S3Storage]


class Files:
    """AWS's own files, as a host has them; nothing else of the chain answers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.credentials, self.config = folder / "credentials", folder / "config"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self.credentials))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(self.config))
        self.config.write_text("[default]\nregion = us-east-1\n")
        self.give("first")

    def give(self, key: str, profile: str = "default") -> None:
        self.credentials.write_text(
            f"[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = of-{key}\n"
            f"aws_session_token = token-of-{key}\n"
        )


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(tmp_path, monkeypatch)


@pytest.fixture
def open_s3(context: Context, files: Files) -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def start(server: Scripted, **options: object) -> S3Storage:
            merged = {"endpoint": server.endpoint, "retries": 0, **options}
            storage = cast("S3Storage", storage_for("s3://lake", merged, context))
            stack.callback(storage.close)
            return storage

        yield start


def signers(server: Scripted) -> list[str]:
    """The access key of each request."""
    said = (headers["authorization"] for headers in server.headers)
    return [text.split("Credential=")[1].split("/")[0] for text in said]


@pytest.mark.parametrize("code", ["ExpiredToken", "TokenRefreshRequired", "InvalidAccessKeyId"])
def test_expired_credentials_are_renewed_from_the_file(
    files: Files, open_s3: Open, code: str
) -> None:
    refused = (403, f"<Error><Code>{code}</Code><Message>m</Message></Error>")
    with scripted_server(LISTED, refused, LISTED) as server:
        storage = open_s3(server)
        storage.list("")
        files.give("second")
        assert storage.list("") == []
        storage.list("")
        assert signers(server) == ["first", "first", "second", "second"]
        tokens = [headers["x-amz-security-token"] for headers in server.headers]
        assert tokens == [f"token-of-{key}" for key in signers(server)]


def test_an_answer_to_head_has_no_code_and_is_renewed_too(files: Files, open_s3: Open) -> None:
    # botocore asks for the bucket's region first: that may be the reason, too.
    with scripted_server((400, ""), (400, ""), (404, ""), (200, "")) as server:
        storage = open_s3(server)
        # One request builds the client, with the credentials of now.
        storage._client._connection.client.connect()
        files.give("second")
        assert storage.create("a", b"1")
        assert [r.split()[0] for r in server.requests] == ["HEAD", "HEAD", "HEAD", "PUT"]
        assert signers(server) == ["first", "first", "second", "second"]


def test_a_part_is_sent_again_whole_with_the_new_credentials(files: Files, open_s3: Open) -> None:
    created = "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
    answers = ((200, f"{created}</InitiateMultipartUploadResult>"), EXPIRED, (200, ""))
    with scripted_server(*answers) as server:
        writer = open_s3(server).stage(data_name(DELIVERY, 0), DELIVERY)
        files.give("second")
        writer.write(b"x" * 1000)
        assert writer.finish()["size"] == 1000
        assert signers(server) == ["first", "first", "second"]
        assert [headers["content-length"] for headers in server.headers[1:]] == ["1000", "1000"]


def test_while_the_chain_has_no_newer_ones_the_sink_comes_back_later(
    files: Files, open_s3: Open
) -> None:
    with scripted_server(EXPIRED, EXPIRED, EXPIRED, LISTED) as server:
        storage = open_s3(server)
        with pytest.raises(StorageUnavailable, match="have expired and AWS's own chain has no new"):
            storage.list("")
        files.credentials.write_text("[default")  # somebody is just writing it
        with pytest.raises(StorageUnavailable, match="then the sink goes on by itself"):
            storage.list("")
        files.give("second")
        assert storage.list("") == []
        assert signers(server) == ["first", "first", "first", "second"]


def test_newer_ones_that_have_expired_too_are_not_asked_for_ever(
    files: Files, open_s3: Open
) -> None:
    with scripted_server(EXPIRED) as server:
        storage = open_s3(server)
        storage._client._connection.client.connect()
        files.give("second")
        with pytest.raises(StorageUnavailable):
            storage.list("")
        assert signers(server) == ["first", "second"]


def test_a_head_that_is_refused_with_the_same_credentials_stands(open_s3: Open) -> None:
    with scripted_server((403, "")) as server:
        with pytest.raises(StorageDenied, match="access is denied"):
            open_s3(server).create("a", b"")
        assert len(server.requests) == 1


def test_credentials_of_the_options_cannot_be_renewed(files: Files, open_s3: Open) -> None:
    keys = {"access_key": "mine", "secret_key": "canary", "session_token": "canary"}
    with scripted_server(EXPIRED) as server:
        storage = open_s3(server, **keys)
        files.give("second")
        with pytest.raises(StorageDenied, match="have expired; provide new ones") as caught:
            storage.list("")
        assert signers(server) == ["mine"]
        assert "canary" not in str(caught.value)


def test_many_requests_that_expire_together_are_renewed_once(
    files: Files, open_s3: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(LISTED, *[EXPIRED] * 8, LISTED) as server:
        storage = open_s3(server)
        storage.list("")
        files.give("second")
        connection = storage._client._connection
        made: list[object] = []
        make, send, refused = connection._made, connection.send, asyncio.Event()
        together, waiting = threading.Barrier(8), set(range(8))

        def counted(session: Any) -> Any:
            made.append(session)
            return make(session)

        async def all_refused(client: Any, method: str, arguments: Any) -> Any:
            """No request is renewed before all eight have been refused."""
            try:
                return await send(client, method, arguments)
            except Exception:
                waiting.pop()
                if not waiting:
                    refused.set()
                await refused.wait()
                raise

        monkeypatch.setattr(connection, "_made", counted)
        monkeypatch.setattr(connection, "send", all_refused)

        def ask() -> list[str]:
            together.wait(10)
            return storage.list("")

        with ThreadPoolExecutor(8) as threads:
            answers = [threads.submit(ask) for _ in range(8)]
            assert [answer.result(30) for answer in answers] == [[]] * 8
        assert signers(server) == ["first"] * 9 + ["second"] * 8
        assert len(made) == 1


def test_a_client_that_was_replaced_goes_away(files: Files, open_s3: Open) -> None:
    with scripted_server(LISTED, EXPIRED, LISTED) as server:
        storage = open_s3(server)
        storage.list("")
        old = weakref.ref(storage._client._connection.client)
        files.give("second")
        storage.list("")
        gc.collect()
        assert old() is None


def test_a_profile_is_used_and_one_that_is_missing_is_denied(files: Files, open_s3: Open) -> None:
    files.give("of-the-lake", profile="lake")
    files.config.write_text("[profile lake]\nregion = us-east-1\n")
    with scripted_server(LISTED) as server:
        assert open_s3(server, profile="lake").list("") == []
        assert signers(server) == ["of-the-lake"]
        with pytest.raises(StorageDenied, match="no such profile; correct `profile`"):
            open_s3(server, profile="none").list("")


def test_a_role_is_assumed_again_when_its_token_has_expired(
    files: Files, open_s3: Open, moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.config.write_text(
        "[profile lake]\nregion = us-east-1\nsource_profile = default\n"
        "role_arn = arn:aws:iam::123456789012:role/lake-writer\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_s3.endpoint)
    with scripted_server(LISTED, EXPIRED, LISTED) as server:
        storage = open_s3(server, profile="lake")
        storage.list("")
        storage.list("")
        before, expired, after = (headers["x-amz-security-token"] for headers in server.headers)
        assert before == expired != after
        assert "first" not in signers(server)


def test_a_role_that_cannot_be_had_now_is_asked_for_later(
    files: Files, open_s3: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.config.write_text(
        "[profile lake]\nregion = us-east-1\nsource_profile = default\n"
        "role_arn = arn:aws:iam::123456789012:role/lake-writer\n"
    )
    expired = (400, EXPIRED[1].join(["<ErrorResponse>", "</ErrorResponse>"]))
    with scripted_server(expired) as tokens, scripted_server(LISTED) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.endpoint)
        storage = open_s3(server, profile="lake")
        with pytest.raises(StorageUnavailable, match=r"could not be had \(AssumeRole\)"):
            storage.list("")
        assert server.requests == []
    refused = (403, expired[1].replace("ExpiredToken", "AccessDenied"))
    with scripted_server(refused) as tokens, scripted_server(LISTED) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.endpoint)
        with pytest.raises(StorageDenied, match=r"could not be had \(AssumeRole\)"):
            open_s3(server, profile="lake").list("")


def test_a_process_that_gives_credentials_may_fail_for_a_while(
    files: Files, open_s3: Open, tmp_path: Path
) -> None:
    files.credentials.write_text("")
    files.config.write_text("[default]\nregion = us-east-1\ncredential_process = false\n")
    with scripted_server(LISTED) as server:
        storage = open_s3(server)
        with pytest.raises(StorageUnavailable, match=r"own chain \(CredentialRetrievalError\)"):
            storage.list("")
        files.give("second")
        assert storage.list("") == []
