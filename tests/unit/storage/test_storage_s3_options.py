"""What the options of a lake on S3 do to its requests, and which of them do not go together."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from servers import S3Server, Scripted, scripted_server

from rayflume.component import Context, options_of
from rayflume.errors import OptionError, StorageDenied
from rayflume.interfaces import Published
from rayflume.lake import storage_for, storage_options
from rayflume.naming import data_name
from rayflume.storage._s3_client import S3Client
from rayflume.storage.s3 import S3, S3Storage

DELIVERY = "00000000000000aa-1-7"
TARGET = data_name(DELIVERY, 0)
KEYS = {"access_key": "any", "secret_key": "any-secret", "region": "us-east-1"}
LIFE = (
    (200, "<ListBucketResult/>"),
    (200, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"),
    (204, ""),
    (200, "<ListMultipartUploadsResult/>"),
    (200, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"),
    (200, ""),
    (200, "<CompleteMultipartUploadResult/>"),
    (404, ""),
    (200, ""),
    (200, "<ListBucketResult/>"),
    (200, "data"),
)
"""Answers to all of `live`."""
Open = Callable[..., S3Storage]


@pytest.fixture
def open_s3(context: Context) -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def start(endpoint: str, bucket: str = "lake", **options: object) -> S3Storage:
            merged = {"endpoint": endpoint, **KEYS, "retries": 0, **options}
            storage = cast("S3Storage", storage_for(f"s3://{bucket}", merged, context))
            stack.callback(storage.close)
            return storage

        yield start


def live(storage: S3Storage) -> None:
    """Check, stage, publish, agree on something, list and read."""
    storage.check()
    writer = storage.stage(TARGET, DELIVERY)
    writer.write(b"x")
    assert storage.publish([writer.finish()]) == [Published.LANDED]
    storage.create("_rayflume/schema/1.json", b"{}")
    storage.list("")
    storage.read("a")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"access_key": "a"}, "access_key and secret_key go together: set both or neither"),
        ({"secret_key": "a"}, "access_key and secret_key go together: set both or neither"),
        ({"session_token": "a"}, "session_token goes with access_key and secret_key"),
        ({"profile": "p", "access_key": "a", "secret_key": "b"}, "two ways to credentials"),
        ({"kms_key_id": "k"}, "kms_key_id needs server_side_encryption: aws:kms"),
        (
            {"kms_key_id": "k", "server_side_encryption": "AES256"},
            "kms_key_id needs server_side_encryption: aws:kms",
        ),
        ({"server_side_encryption": "aes"}, "storage.server_side_encryption: .*'AES256'"),
        ({"storage_class": "GLACIER"}, "storage.storage_class: files of this class cannot be read"),
        ({"storage_class": "a b"}, "storage.storage_class: "),
        ({"ca_file": "ca.pem"}, "storage.ca_file: write the path of the file from / on"),
        ({"ca_file": "/ca.pem", "endpoint": "http://s3.test"}, "ca_file is for an https endpoint"),
        (
            {"path_style": False, "endpoint": "http://10.0.0.1:9000"},
            "this endpoint is an address: drop path_style",
        ),
        ({"path_style": False, "endpoint": "http://[::1]:9000"}, "this endpoint is an address"),
        ({"profile": ""}, "storage.profile: "),
        ({"part_bytes": "1MiB"}, "storage.part_bytes: "),
        ({"concurrency": 0}, "storage.concurrency: "),
    ],
)
def test_what_does_not_fit_together_is_one_clear_sentence(
    options: dict[str, object], said: str
) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        storage_options("s3://lake", options)
    assert str(caught.value).isprintable()


def test_what_fits_together_is_taken() -> None:
    for options in (
        {"access_key": "a", "secret_key": "b", "session_token": "c"},
        {"profile": "p"},
        {"server_side_encryption": "aws:kms"},
        {"server_side_encryption": "aws:kms:dsse", "kms_key_id": "k"},
        {"ca_file": "/ca.pem"},
        {"ca_file": "/ca.pem", "endpoint": "https://s3.test"},
        {"path_style": False, "endpoint": "https://s3.test"},
        {"path_style": True},
        {"storage_class": "GLACIER_IR"},
    ):
        storage_options("s3://lake", options)


def test_every_secret_is_hidden() -> None:
    secret = [name for name, field in options_of(S3).items() if "Secret" in str(field.annotation)]
    assert secret == ["access_key", "secret_key", "session_token"]
    options = S3.model_validate({"path": "s3://lake", **dict.fromkeys(secret, "canary")})
    for shown in (repr(options), str(options), options.model_dump_json()):
        assert "canary" not in shown
    assert all(isinstance(getattr(options, name), SecretStr) for name in secret)
    wrong = {name: {"canary": 1} for name in secret}
    with pytest.raises(OptionError) as caught:
        storage_options("s3://lake", wrong)
    assert "canary" not in str(caught.value)


def test_a_file_of_authorities_that_is_not_there_is_found_on_the_host(context: Context) -> None:
    with pytest.raises(OptionError, match=r"storage\.ca_file: there is no file /no/such\.pem"):
        storage_for("s3://lake", {"ca_file": "/no/such.pem"}, context)


@pytest.mark.s3
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"server_side_encryption": "AES256"}, {"ServerSideEncryption": "AES256"}),
        (
            {"server_side_encryption": "aws:kms", "kms_key_id": "alias/lake"},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/lake"},
        ),
    ],
)
def test_all_that_is_written_is_encrypted_as_asked(
    moto_s3: S3Server, open_s3: Open, options: dict[str, object], kept: dict[str, str]
) -> None:
    bucket = moto_s3.bucket()
    storage = open_s3(moto_s3.endpoint, bucket, **options, storage_class="STANDARD_IA")
    storage.check()
    writer = storage.stage(TARGET, DELIVERY)
    writer.write(b"x")
    storage.publish([writer.finish()])
    storage.create("_rayflume/schema/1.json", b"{}")
    with contextlib.closing(moto_s3.client()) as client:
        data = client.head_object(Bucket=bucket, Key=TARGET)
        schema = client.head_object(Bucket=bucket, Key="_rayflume/schema/1.json")
    for name, value in kept.items():
        assert data[name] == schema[name] == value
    assert data["StorageClass"] == "STANDARD_IA"
    assert "StorageClass" not in schema  # small, and read often
    assert storage.read(TARGET) == b"x"


@pytest.mark.s3
def test_every_request_says_who_pays(open_s3: Open) -> None:
    for pays in (False, True):
        with scripted_server(*LIFE) as server:
            live(open_s3(server.endpoint, requester_pays=pays))
            assert len(server.requests) == len(LIFE)
            said = [headers.get("x-amz-request-payer") for headers in server.headers]
            assert said == ["requester" if pays else None] * len(LIFE)


@pytest.mark.s3
def test_temporary_credentials_sign_with_their_token(open_s3: Open) -> None:
    with scripted_server(*LIFE) as server:
        live(open_s3(server.endpoint, session_token="of-the-session"))
        said = {headers["x-amz-security-token"] for headers in server.headers}
        assert said == {"of-the-session"}


@pytest.fixture
def named_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """All names below `store.test` are this host."""
    ask = socket.getaddrinfo

    def answer(host: str | bytes | None, *more: Any, **options: Any) -> Any:
        found = host.decode() if isinstance(host, bytes) else host
        return ask("127.0.0.1" if (found or "").endswith("store.test") else found, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.s3
@pytest.mark.parametrize("path_style", [None, True, False])
def test_the_bucket_is_in_the_path_or_in_the_host_name(
    open_s3: Open, named_store: None, path_style: bool | None
) -> None:
    with scripted_server(*LIFE) as server:
        port = server.endpoint.rpartition(":")[2]
        live(open_s3(f"http://store.test:{port}", path_style=path_style))
        hosts = {headers["host"] for headers in server.headers}
        paths = {request.split()[1].split("?")[0] for request in server.requests}
    if path_style is False:
        assert hosts == {f"lake.store.test:{port}"}
        assert f"/{TARGET}" in paths
    else:
        assert hosts == {f"store.test:{port}"}
        assert f"/lake/{TARGET}" in paths


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that nobody vouches for but its own file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rayflume test")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "ca.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, folder / "key.pem")
    return pem, context


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Path, Scripted]]:
    pem, context = authority(tmp_path)
    with scripted_server(*LIFE, tls=context) as server:
        yield pem, server


@pytest.mark.s3
def test_an_endpoint_is_trusted_if_its_authority_is_named(
    open_s3: Open, secure: tuple[Path, Scripted]
) -> None:
    pem, server = secure
    with pytest.raises(StorageDenied, match="not trusted; correct `endpoint` or name its auth"):
        open_s3(server.endpoint).check()
    assert server.requests == []
    live(open_s3(server.endpoint, ca_file=str(pem)))
    assert len(server.requests) == len(LIFE)


def test_errors_name_the_store_of_the_environment_without_its_password(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named() -> str:
        client = S3Client(S3.model_validate({"path": "s3://lake", **KEYS}))
        client.close()
        return client.endpoint

    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert named() == "Amazon S3"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:secret@127.0.0.1:8333")
    assert named() == "http://127.0.0.1:8333"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://store:9000")
    assert named() == "https://store:9000"
