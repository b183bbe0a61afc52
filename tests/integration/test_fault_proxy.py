"""The fault proxy itself, before a real S3 server: what it injects arrives, all else is intact."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from fault_proxy import CALLS, Fault, FaultProxy, call_of, in_front_of
from servers import S3Server

pytestmark = pytest.mark.s3
PART = b"x" * (5 << 20)


@pytest.fixture
def proxy(weed_s3: S3Server) -> Iterator[FaultProxy]:
    with in_front_of(weed_s3.endpoint) as proxy:
        yield proxy


@contextlib.contextmanager
def client(weed_s3: S3Server, proxy: FaultProxy, patience_s: int) -> Iterator[Any]:
    """A client without retries, through the proxy; it signs the proxy's address."""
    patience = {"retries": {"total_max_attempts": 1}, "read_timeout": patience_s}
    made = boto3.client(
        "s3",
        endpoint_url=proxy.endpoint,
        region_name=weed_s3.region,
        aws_access_key_id=weed_s3.access_key,
        aws_secret_access_key=weed_s3.secret_key,
        config=Config(**patience, s3={"addressing_style": "path"}),
    )
    with contextlib.closing(made):
        yield made


@pytest.fixture
def s3(weed_s3: S3Server, proxy: FaultProxy) -> Iterator[Any]:
    # The first bytes in a bucket can take seconds: the server makes room for it.
    with client(weed_s3, proxy, 60) as made:
        yield made


@pytest.fixture
def impatient_s3(weed_s3: S3Server, proxy: FaultProxy) -> Iterator[Any]:
    with client(weed_s3, proxy, 1) as made:
        yield made


@pytest.fixture
def bucket(weed_s3: S3Server) -> str:
    return weed_s3.bucket()


def upload(s3: Any, bucket: str, key: str = "dir/big") -> None:
    """Two parts, so that every call of an upload is made."""
    made = s3.create_multipart_upload(Bucket=bucket, Key=key)
    place = {"Bucket": bucket, "Key": key, "UploadId": made["UploadId"]}
    parts = [
        {"PartNumber": n, "ETag": s3.upload_part(**place, PartNumber=n, Body=body)["ETag"]}
        for n, body in ((1, PART), (2, b"end"))
    ]
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts}, IfNoneMatch="*")


def every_call(s3: Any, bucket: str) -> None:
    upload(s3, bucket)
    s3.put_object(Bucket=bucket, Key="dir/small", Body=b"small")
    assert s3.head_object(Bucket=bucket, Key="dir/small")["ContentLength"] == 5
    assert s3.get_object(Bucket=bucket, Key="dir/small")["Body"].read() == b"small"
    assert s3.get_object(Bucket=bucket, Key="dir/big")["Body"].read() == PART + b"end"
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["dir/big", "dir/small"]
    made = s3.create_multipart_upload(Bucket=bucket, Key="dir/gone")
    s3.list_multipart_uploads(Bucket=bucket)
    s3.abort_multipart_upload(Bucket=bucket, Key="dir/gone", UploadId=made["UploadId"])
    s3.delete_object(Bucket=bucket, Key="dir/small")


def test_all_calls_pass_intact_with_their_signatures(
    proxy: FaultProxy, s3: Any, bucket: str, weed_s3: S3Server
) -> None:
    every_call(s3, bucket)
    assert set(proxy.requests) == set(CALLS)
    assert proxy.total == 0
    with contextlib.closing(weed_s3.client()) as direct:
        assert direct.get_object(Bucket=bucket, Key="dir/big")["Body"].read() == PART + b"end"


def test_requests_are_told_apart() -> None:
    assert call_of("POST", "/lake/k?uploads=") == "create-upload"
    assert call_of("POST", "/lake?delete=") == "delete"
    assert call_of("GET", "/lake/k?uploadId=u") == "list"
    assert call_of("PUT", "/lake") == "other"
    assert call_of("GET", "/lake/?list-type=2") == "list"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.ERROR_500, "InternalError"),
        (Fault.SLOW_DOWN, "SlowDown"),
        (Fault.TOO_MANY, "TooManyRequests"),
        (Fault.ERROR_AFTER, "InternalError"),
    ],
)
def test_an_error_answer_arrives_once(
    proxy: FaultProxy, s3: Any, bucket: str, fault: Fault, code: str
) -> None:
    proxy.inject(fault, call="put")
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert caught.value.response["Error"]["Code"] == code
    done = s3.list_objects_v2(Bucket=bucket)["KeyCount"]
    assert done == (1 if fault is Fault.ERROR_AFTER else 0)
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert proxy.injected == {("put", fault): 1}
    assert proxy.log == [("put", fault), ("list", None), ("put", None)]


@pytest.mark.parametrize(
    "outcome",
    [
        (Fault.RESET, 0),
        (Fault.TIMEOUT_BEFORE, 0),
        (Fault.RESET_AFTER, 1),
        (Fault.TIMEOUT_AFTER, 1),
    ],
)
def test_no_answer_comes_before_or_after_the_work(
    proxy: FaultProxy, s3: Any, impatient_s3: Any, bucket: str, outcome: tuple[Fault, int]
) -> None:
    fault, done = outcome
    proxy.inject(fault, call="put", hang_s=30)
    with pytest.raises(HTTPClientError):  # the hang is longer than the client's patience
        impatient_s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    proxy.inject(fault, call="put", hang_s=0.1)
    with pytest.raises(HTTPClientError):  # and shorter: the connection is closed
        s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == done
    assert proxy.injected == {("put", fault): 2}


def test_a_slow_body_trickles_until_all_is_healed(proxy: FaultProxy, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    proxy.inject(Fault.SLOW_BODY, call="get", times=None, hang_s=0.4)
    body = s3.get_object(Bucket=bucket, Key="a")["Body"]
    assert body.read(2) == b"01"
    proxy.heal()
    assert body.read() == b"23456789"
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"0123456789"
    assert proxy.injected == {("get", Fault.SLOW_BODY): 1}


def test_a_wrong_etag_is_in_the_answer_and_not_in_the_store(
    proxy: FaultProxy, s3: Any, bucket: str
) -> None:
    true = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["ETag"]
    proxy.inject(Fault.WRONG_ETAG, call="head")
    assert "bad" in s3.head_object(Bucket=bucket, Key="a")["ETag"]
    assert s3.head_object(Bucket=bucket, Key="a")["ETag"] == true
    proxy.inject(Fault.WRONG_ETAG, call="list")
    assert "bad" in s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"]
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"] == true


def test_faults_of_a_seed_are_the_same_again(
    proxy: FaultProxy, s3: Any, bucket: str, weed_s3: S3Server
) -> None:
    logs = []
    for _ in range(2):
        proxy.chaos(7, 0.5, [Fault.ERROR_500, Fault.RESET], calls=["put"])
        for _ in range(12):
            with contextlib.suppress(ClientError, HTTPClientError):
                s3.put_object(Bucket=bucket, Key="a", Body=b"1")
        proxy.heal()
        logs.append(list(proxy.log))
        proxy.log.clear()
        s3.put_object(Bucket=bucket, Key="a", Body=b"1")
        assert proxy.log.pop() == ("put", None)
    assert logs[0] == logs[1]
    assert {fault for _, fault in logs[0]} == {None, Fault.ERROR_500, Fault.RESET}


def test_a_server_that_is_down_is_a_broken_connection(
    proxy: FaultProxy, s3: Any, bucket: str
) -> None:
    up, proxy.upstream = proxy.upstream, replace_port(proxy.upstream)
    with pytest.raises(HTTPClientError):
        s3.head_bucket(Bucket=bucket)
    proxy.upstream = up
    s3.head_bucket(Bucket=bucket)
    assert proxy.total == 0


def replace_port(upstream: tuple[str, int]) -> tuple[str, int]:
    """A port nobody listens on: 1 needs a privilege no test server asks for."""
    return upstream[0], 1
