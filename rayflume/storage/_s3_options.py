"""The options of a lake on S3, and which of them go together."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator

from rayflume.component import Component, option
from rayflume.storage import _paths
from rayflume.units import ByteSize, Millis

_PATH = re.compile(r"s3[an]?://([A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9])(?:/(.*))?", re.DOTALL)
_FROZEN = {"GLACIER", "DEEP_ARCHIVE"}


class S3Options(Component):
    """Where the lake is, who asks for it, how its objects are kept, and how hard it is tried."""

    path: str = option("Bucket and prefix of the lake.", example="s3://lake/clicks")
    endpoint: str | None = option(
        "URL of the store, for stores other than Amazon's. Default: Amazon S3, or what "
        "AWS_ENDPOINT_URL says.",
        default=None,
        example="http://127.0.0.1:8333",
    )
    region: str | None = option(
        "Region of the bucket. Default: what AWS's environment variables or files say.",
        default=None,
        example="eu-north-1",
    )
    path_style: bool | None = option(
        "Whether the bucket is named in the path of a request (true) or in its host name (false). "
        "Default: in the path with `endpoint`, in the host name without.",
        default=None,
    )
    ca_file: str | None = option(
        "File (PEM) with the authorities that may vouch for an https endpoint, instead of the "
        "system's. Default: what AWS_CA_BUNDLE says.",
        default=None,
        example="/etc/ssl/lake-ca.pem",
    )
    access_key: SecretStr | None = option(
        "Access key. Default: AWS's own chain (environment, files, web identity, the machine's "
        "role). Credentials of the chain are renewed while the sink runs: roles by themselves, "
        "files and all others when the store says that they have expired.",
        default=None,
    )
    secret_key: SecretStr | None = option("Secret key; goes with `access_key`.", default=None)
    session_token: SecretStr | None = option(
        "Session token of temporary credentials; goes with `access_key`. They cannot be renewed: "
        "for a sink that runs longer use `profile` or the chain.",
        default=None,
    )
    profile: str | None = option(
        "Profile of AWS's files that has the credentials, or the role to assume. Default: what "
        "AWS_PROFILE says.",
        default=None,
        example="lake-writer",
        min_length=1,
    )
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = option(
        "How the store encrypts what is written. Default: what the bucket says.", default=None
    )
    kms_key_id: str | None = option(
        "Id or ARN of the key for `server_side_encryption: aws:kms`. Default: the account's key "
        "for S3.",
        default=None,
        example="arn:aws:kms:eu-north-1:111122223333:key/1234abcd",
        min_length=1,
    )
    storage_class: str | None = option(
        "Storage class of data files, such as INTELLIGENT_TIERING. What is small or read often "
        "(schema, markers) stays in the store's default class, as all does without this option.",
        default=None,
        example="INTELLIGENT_TIERING",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
    )
    requester_pays: bool = option(
        "Whether these credentials' account pays for requests to somebody else's bucket.",
        default=False,
    )
    part_bytes: ByteSize = option(
        "Size of one part of an upload, at least 5MiB. Each open file fills one part in memory, "
        "and `concurrency` parts of all files are on their way: at most (open files + "
        "`concurrency` + 1) x `part_bytes` are held, 80MiB for one file with the defaults.",
        default=8 * 2**20,
        example="8MiB",
        ge=5 * 2**20,
        le=5 * 2**30,
    )
    concurrency: int = option(
        "Parts on their way at once, of all files together; also files published at once. 8 keep "
        "a line of 1 Gbit/s busy.",
        default=8,
        ge=1,
        le=256,
    )
    connect_timeout: Millis = option(
        "How long to wait for a connection.", default=5_000, example="5s", ge=1
    )
    read_timeout: Millis = option(
        "How long to wait for the next bytes of an answer.", default=60_000, example="60s", ge=1
    )
    call_timeout: Millis = option(
        "How long a request may take in all, its retries included, before the delivery is told to "
        "come back later. A request that sends bytes has a second more for each 32KiB.",
        default=120_000,
        example="2min",
        ge=1,
    )
    retries: int = option(
        "How often a failed request is sent again, after pauses that grow from 0.1 s (0.5 s when "
        "the store asks to slow down) to 20 s and are shortened by chance, before the delivery is "
        "told to come back later.",
        default=8,
        ge=0,
        le=100,
    )

    @property
    def bucket(self) -> str:
        return _match(self.path)[1]

    @property
    def prefix(self) -> str:
        """The prefix with a closing `/`, or "" for the whole bucket."""
        trimmed = (_match(self.path)[2] or "").rstrip("/")
        return f"{trimmed}/" if trimmed else ""

    @property
    def renewable(self) -> bool:
        """Whether other credentials can come while the sink runs."""
        return self.access_key is None

    @field_validator("path")
    @classmethod
    def _bucket_and_prefix(cls, value: str) -> str:
        prefix = (_match(value)[2] or "").rstrip("/")
        if prefix:
            _paths.split(prefix)
        return value

    @field_validator("endpoint")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)
        if url.scheme not in {"http", "https"} or not url.hostname or url.path not in {"", "/"}:
            raise ValueError("write a URL of scheme, host and port, like http://127.0.0.1:8333")
        if url.username is not None:
            raise ValueError("credentials do not belong in the URL; set access_key and secret_key")
        return value.rstrip("/")

    @field_validator("ca_file")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_absolute():
            raise ValueError("write the path of the file from / on; the sink may run on any host")
        return value

    @field_validator("storage_class")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value in _FROZEN:
            raise ValueError(
                "files of this class cannot be read before somebody restores them; let a lifecycle "
                "rule of the bucket move old partitions there"
            )
        return value

    @model_validator(mode="after")
    def _one_way_to_credentials(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key go together: set both or neither")
        if self.session_token is not None and self.access_key is None:
            raise ValueError("session_token goes with access_key and secret_key: set all three")
        if self.profile is not None and self.access_key is not None:
            raise ValueError("profile and access_key are two ways to credentials: set one of them")
        return self

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.kms_key_id and not (self.server_side_encryption or "").startswith("aws:kms"):
            raise ValueError("kms_key_id needs server_side_encryption: aws:kms")
        if self.ca_file and self.endpoint and not self.endpoint.startswith("https:"):
            raise ValueError("ca_file is for an https endpoint, and this one is http: drop it")
        if self.path_style is False and self.endpoint and _no_domain(self.endpoint):
            raise ValueError(
                "path_style: false puts the bucket before the host name, and this endpoint is an "
                "address: drop path_style, or name the endpoint by its domain"
            )
        return self


def _match(path: str) -> re.Match[str]:
    match = _PATH.fullmatch(path)
    if match is None:
        raise ValueError("write s3://bucket or s3://bucket/prefix; a bucket has 3 to 63 characters")
    return match


def _no_domain(endpoint: str) -> bool:
    try:
        ipaddress.ip_address(urlsplit(endpoint).hostname or "")
    except ValueError:
        return False
    return True
