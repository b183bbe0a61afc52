from __future__ import annotations

import contextlib
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
from servers import S3Server, Scripted, free_ports, scripted_server

from rayflume.component import Context
from rayflume.errors import RayflumeError, StorageDenied, StorageUnavailable
from rayflume.interfaces import Json, Published
from rayflume.lake import storage_for
from rayflume.naming import data_name
from rayflume.storage._s3_client import S3Client
from rayflume.storage._s3_upload import PARTS_MAX, Part, PartSenders
from rayflume.storage.s3 import S3, S3Storage

pytestmark = pytest.mark.s3
DELIVERY = "00000000000000aa-1-7"
TARGET = data_name(DELIVERY, 0)
HANDLE: dict[str, Json] = {
    "target": TARGET, "upload_id": "u", "parts": [{"n": 1, "etag": "e"}], "size": 1,
}  # fmt: skip
Open = Callable[..., S3Storage]


@pytest.fixture
def open_s3(context: Context) -> Iterator[Open]:
    """Open a storage at a server; `options` go over the server's own. All are closed at the end."""
    with contextlib.ExitStack() as stack:

        def start(
            server: S3Server | Scripted, bucket: str = "lake", **options: object
        ) -> S3Storage:
            merged = {**server.options, "retries": 0, **options}
            storage = cast("S3Storage", storage_for(f"s3://{bucket}", merged, context))
            stack.callback(storage.close)
            return storage

        yield start


def error_xml(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>because</Message></Error>"


CREATED = (
    200,
    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
)
COMPLETED = (200, "<CompleteMultipartUploadResult/>")
SERVER_ERROR = (500, error_xml("InternalError"))


def publish(storage: S3Storage) -> list[Published]:
    return storage.publish([HANDLE])


def test_options_have_safe_forms() -> None:
    options = S3.model_validate(
        {"path": "s3a://lake/a/b/", "access_key": "AKIA-canary", "secret_key": "canary"}
    )
    assert (options.bucket, options.prefix) == ("lake", "a/b/")
    assert S3(path="s3://lake").prefix == ""
    assert "canary" not in repr(options)
    assert "canary" not in str(options.model_dump_json())


def test_t1_a_missing_bucket_is_denied(moto_s3: S3Server, weed_s3: S3Server, open_s3: Open) -> None:
    for server in (moto_s3, weed_s3):
        with pytest.raises(StorageDenied) as caught:
            open_s3(server, "no-such-bucket").check()
        assert str(caught.value) == (
            f"s3://no-such-bucket/ at {server.endpoint}: the bucket does not exist; create it or "
            "correct `path` (NoSuchBucket)"
        )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"access_key": "AKIA-canary"}, "does not know this access key; correct `access_key`"),
        ({"secret_key": "canary"}, "secret key does not fit the access key; correct `secret_key`"),
    ],
)
def test_t1_wrong_credentials_are_denied_without_showing_them(
    weed_s3: S3Server, open_s3: Open, wrong: dict[str, str], said: str
) -> None:
    storage = open_s3(weed_s3, weed_s3.bucket(), **wrong)
    for call in (storage.check, lambda: publish(storage), lambda: storage.stage(TARGET, DELIVERY)):
        with pytest.raises(StorageDenied, match=said) as caught:
            call()
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert "canary" not in shown
        assert weed_s3.secret_key not in shown
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_t1_the_right_to_read_is_not_enough(weed_s3: S3Server, open_s3: Open) -> None:
    storage = open_s3(weed_s3, weed_s3.bucket(), access_key=weed_s3.reader_key)
    assert storage.list("") == []
    with pytest.raises(StorageDenied, match="access is denied"):
        storage.check()


def test_no_credentials_at_all_are_denied(
    context: Context, moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(context.directory / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(context.directory / "none"))
    options = {"endpoint": moto_s3.endpoint, "retries": 0}
    storage = storage_for("s3://lake", options, context)
    with pytest.raises(StorageDenied, match="no credentials were found; set `access_key`"):
        storage.check()
    storage.close()


def test_credentials_and_endpoint_may_come_from_the_environment(
    context: Context, weed_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in weed_s3.environment.items():
        monkeypatch.setenv(name, value)
    storage = storage_for(f"s3://{weed_s3.bucket()}/x", {}, context)
    storage.check()
    assert storage.create("a", b"1")
    storage.close()


def test_an_endpoint_that_is_not_there_is_unavailable(moto_s3: S3Server, open_s3: Open) -> None:
    gone = replace(moto_s3, endpoint=f"http://127.0.0.1:{free_ports(1)[0]}")
    storage = open_s3(gone)
    for call in (storage.check, lambda: publish(storage), lambda: storage.read("a")):
        with pytest.raises(StorageUnavailable, match=f"{gone.endpoint}: the store does not answer"):
            call()


def test_a_silent_store_is_unavailable_after_the_time_out(open_s3: Open) -> None:
    with scripted_server(None) as server:
        storage = open_s3(server, read_timeout="200ms")
        with pytest.raises(StorageUnavailable, match=r"does not answer; .* \(ReadTimeoutError\)"):
            publish(storage)


def test_throttling_is_unavailable_after_the_retries(open_s3: Open) -> None:
    with scripted_server((503, error_xml("SlowDown"))) as server:
        storage = open_s3(server, retries=1)
        with pytest.raises(StorageUnavailable, match="asks to slow down"):
            storage.list("")
        assert len(server.requests) == 2
        with pytest.raises(StorageUnavailable):
            publish(storage)


def test_throttling_is_passed_over_by_the_retries(open_s3: Open) -> None:
    for slow in ((503, error_xml("SlowDown")), (429, error_xml("TooManyRequests")), SERVER_ERROR):
        with scripted_server(slow, slow, (200, "<ListBucketResult/>")) as server:
            assert open_s3(server, retries=2).list("") == []
            assert len(server.requests) == 3


def test_an_error_inside_a_success_is_an_error(open_s3: Open) -> None:
    with scripted_server((200, error_xml("SlowDown")), COMPLETED) as server:
        assert publish(open_s3(server, retries=1)) == [Published.LANDED]
        assert len(server.requests) == 2


def test_retries_end_with_the_time_of_the_call(open_s3: Open) -> None:
    with scripted_server((503, error_xml("SlowDown"))) as server:
        storage = open_s3(server, retries=100, call_timeout="2s")
        with pytest.raises(StorageUnavailable, match=r"asks to slow down|does not answer"):
            storage.list("")
        assert len(server.requests) < 100


def test_t3_a_server_error_with_the_upload_still_there_is_unknown(open_s3: Open) -> None:
    with scripted_server(SERVER_ERROR, (200, "<ListPartsResult/>"), COMPLETED) as server:
        storage = open_s3(server)
        with pytest.raises(StorageUnavailable, match="the store failed: InternalError because"):
            publish(storage)
        assert publish(storage) == [Published.LANDED]


def test_t3_a_server_error_is_never_proof_of_loss(open_s3: Open) -> None:
    gone = (404, error_xml("NoSuchUpload"))
    with scripted_server(SERVER_ERROR, gone, (500, ""), (503, "")) as server:
        storage = open_s3(server)
        with pytest.raises(StorageUnavailable):
            publish(storage)
    with scripted_server(SERVER_ERROR, gone, (404, ""), (500, "")) as server:
        storage = open_s3(server)
        with pytest.raises(StorageUnavailable):
            publish(storage)
    with scripted_server(SERVER_ERROR, gone, (404, ""), (404, "")) as server:
        assert publish(open_s3(server)) == [Published.LOST]


def test_t3_a_conflict_is_unknown(open_s3: Open) -> None:
    with scripted_server((409, error_xml("ConditionalRequestConflict"))) as server:
        storage = open_s3(server)
        with pytest.raises(StorageUnavailable, match="another request for the same file"):
            publish(storage)


def test_t3_an_error_for_an_operator_comes_before_one_to_retry(
    moto_s3: S3Server, open_s3: Open
) -> None:
    bucket = moto_s3.bucket()
    storage = open_s3(moto_s3, bucket)
    writer = storage.stage(TARGET, DELIVERY)
    writer.write(b"x")
    mine = writer.finish()
    with contextlib.closing(moto_s3.client()) as client:
        client.put_object(Bucket=bucket, Key=TARGET, Body=b"foreign")
    wrong = {**HANDLE, "target": data_name(DELIVERY, 1)}
    other = storage.stage(data_name(DELIVERY, 2), DELIVERY)
    other.write(b"y")
    with pytest.raises(RayflumeError, match="is not of the delivery"):
        storage.publish([wrong, mine, other.finish()])
    assert storage.read(data_name(DELIVERY, 2)) == b"y"


def test_a_part_that_failed_is_sent_again_by_finish(open_s3: Open) -> None:
    answers = (CREATED, SERVER_ERROR, (200, ""), (500, ""), (200, ""))
    with scripted_server(*answers) as server:
        storage = open_s3(server, part_bytes="5MiB", concurrency=1)
        writer = storage.stage(TARGET, DELIVERY)
        writer.write(b"x" * (6 << 20))
        with pytest.raises(StorageUnavailable):
            writer.finish()
        with pytest.raises(StorageUnavailable, match="is finished"):
            writer.write(b"more")
        handle = writer.finish()
        etag = '"scripted"'
        assert handle["parts"] == [{"n": 1, "etag": etag}, {"n": 2, "etag": etag}]
        assert handle["size"] == 6 << 20
        sent = [request.split("partNumber=")[1][0] for request in server.requests[1:]]
        assert sent == ["1", "2", "1", "1"]


def test_write_tells_of_a_failed_part_before_it_takes_more(open_s3: Open) -> None:
    with scripted_server(CREATED, (403, error_xml("AccessDenied"))) as server:
        writer = open_s3(server, part_bytes="5MiB").stage(TARGET, DELIVERY)
        writer.write(b"x" * (5 << 20))
        writer._wait()
        with pytest.raises(StorageDenied, match="access is denied"):
            writer.write(b"x")
        assert len(writer._buffer) == 0
        writer.abort()


def test_an_upload_that_is_gone_cannot_be_written_on(weed_s3: S3Server, open_s3: Open) -> None:
    bucket = weed_s3.bucket()
    storage = open_s3(weed_s3, bucket)
    writer = storage.stage(TARGET, DELIVERY)
    for _, handle in storage.staged(DELIVERY[:16]):
        storage.discard(handle)
    writer.write(b"x")
    with pytest.raises(StorageUnavailable, match="must be staged anew"):
        writer.finish()
    writer.abort()


def test_at_most_concurrency_parts_are_under_way() -> None:
    class Slow:
        """Counts the calls under way; each waits until two are, which must be all."""

        def __init__(self) -> None:
            self.most = self.now = 0
            self.lock = threading.Lock()
            self.pair = threading.Barrier(2)

        def call(self, _method: str, **_arguments: object) -> dict[str, str]:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.pair.wait(timeout=10)
            with self.lock:
                self.now -= 1
            return {"ETag": "e"}

    client = Slow()
    senders = PartSenders(cast("S3Client", client), 2)
    parts = [Part(n, b"x") for n in range(8)]
    with ThreadPoolExecutor(4) as files:
        list(files.map(lambda part: senders.send(part, "k", "u"), parts))
    senders.close()
    assert client.most == 2
    assert [(part.etag, part.data) for part in parts] == [("e", b"")] * 8


def test_who_gets_room_sees_what_became_of_the_part_before() -> None:
    """A writer with one part under way gives a file up at once, not after its footer."""

    class Failing:
        """Refuses every part."""

        def call(self, _method: str, **_arguments: object) -> dict[str, str]:
            raise StorageUnavailable("refused")

    senders = PartSenders(cast("S3Client", Failing()), 1)
    parts = [Part(n, b"x") for n in range(300)]
    for before, part in pairwise(parts):
        senders.send(part, "k", "u")
        assert before.sent is None or before.error is not None
    senders.close()


def test_listings_are_read_to_their_end(open_s3: Open) -> None:
    def page(key: str, following: str) -> tuple[int, str]:
        more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
        cut = "true" if following else "false"
        body = f"<IsTruncated>{cut}</IsTruncated>{more}<Contents><Key>{key}</Key></Contents>"
        return 200, f"<ListBucketResult>{body}</ListBucketResult>"

    pages = (
        page("b", "t1"),
        page("_rayflume/staging/x", "t2"),
        page("folder/", "t3"),
        page("a", ""),
    )
    with scripted_server(*pages) as server:
        assert open_s3(server).list("") == ["a", "b"]
        tokens = [r.partition("continuation-token=")[2].partition("&")[0] for r in server.requests]
        assert tokens == ["", "t1", "t2", "t3"]


def test_uploads_are_listed_to_their_end_and_a_stuck_listing_ends(open_s3: Open) -> None:
    def page(n: int, marker: str) -> tuple[int, str]:
        upload = f"<Upload><Key>p/{data_name(DELIVERY, n)}</Key><UploadId>u{n}</UploadId></Upload>"
        more = f"<NextKeyMarker>{marker}</NextKeyMarker><NextUploadIdMarker>i</NextUploadIdMarker>"
        flag = f"<IsTruncated>{'true' if marker else 'false'}</IsTruncated>"
        body = f"{flag}{more if marker else ''}{upload}"
        return 200, f"<ListMultipartUploadsResult>{body}</ListMultipartUploadsResult>"

    for last in ("", "k2"):
        with scripted_server(page(0, "k1"), page(1, "k2"), page(2, last)) as server:
            found = open_s3(server).staged(DELIVERY[:16])
            assert [handle["upload_id"] for _, handle in found] == ["u0", "u1", "u2"]
            assert len(server.requests) == 3


def test_t5_a_put_whose_answer_was_lost_is_known_again(moto_s3: S3Server, open_s3: Open) -> None:
    storage = open_s3(moto_s3, moto_s3.bucket())
    client: Any = storage._client
    ask = client.ask

    def answer_lost(method: str, **arguments: object) -> object:
        ask(method, **arguments)
        return ask(method, **arguments)  # what a retry below this layer does

    client.ask = answer_lost
    assert storage.create("a", b"1") is True
    assert storage.create("a", b"2") is False
    assert storage.read("a") == b"1"


def test_t5_a_store_without_conditions_is_denied(open_s3: Open) -> None:
    with scripted_server((404, ""), (501, error_xml("NotImplemented"))) as server:
        storage = open_s3(server)
        with pytest.raises(StorageDenied, match="does not know a request that publishing"):
            storage.create("a", b"")


def test_what_a_server_says_is_shown_on_one_line(open_s3: Open) -> None:
    text = f"<Error><Code>Odd</Code><Message>a&#10;b\x1b[31m{'x' * 999}</Message></Error>"
    with scripted_server((400, text.replace("\x1b", "&#155;"))) as server:
        with pytest.raises(StorageDenied) as caught:
            open_s3(server).list("")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400


def test_a_file_of_too_many_parts_is_denied(moto_s3: S3Server, open_s3: Open) -> None:
    writer = open_s3(moto_s3, moto_s3.bucket()).stage(TARGET, DELIVERY)
    writer._parts = [Part(n, b"") for n in range(PARTS_MAX)]
    writer.write(b"x")
    for _ in range(2):
        with pytest.raises(StorageDenied, match="more than 10000 parts; roll sooner"):
            writer.finish()
    writer.abort()


def test_close_ends_the_threads(moto_s3: S3Server, open_s3: Open) -> None:
    storage = open_s3(moto_s3, moto_s3.bucket())
    writer = storage.stage(TARGET, DELIVERY)
    writer.write(b"x")
    storage.publish([writer.finish()])
    mine = [t for t in threading.enumerate() if t.name.startswith("rayflume-s3")]
    assert mine
    storage.close()
    storage.close()
    assert not any(thread.is_alive() for thread in mine)
