"""One bucket, called through s3fs, with every failure turned into an error that says who acts.

`ask` returns what the store said, also when it said no; `call` raises. No text has a secret in it:
of a server's answer only its code is shown, and the message of codes that are not known here.
"""

from __future__ import annotations

import asyncio
import io
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import botocore.exceptions as boto
from fsspec.asyn import sync

from rayflume.errors import RayflumeError, StorageDenied, StorageUnavailable
from rayflume.storage._s3_connection import Connection, answer_of, client_error
from rayflume.storage._s3_retry import Verdict, expired, pause_s, verdict

if TYPE_CHECKING:
    import s3fs

    from rayflume.storage._s3_options import S3Options

_DENIED = {
    "NoSuchBucket": "the bucket does not exist; create it or correct `path`",
    "AccessDenied": "access is denied; these credentials need to list, read and write objects and "
    "multipart uploads there",
    "403": "access is denied; the credentials are wrong or may not do this (without the right to "
    "list, a missing file looks like this, too)",
    "AllAccessDisabled": "all access to the bucket is disabled by its owner",
    "InvalidAccessKeyId": "the store does not know this access key; correct `access_key`",
    "SignatureDoesNotMatch": "the secret key does not fit the access key; correct `secret_key`",
    "ExpiredToken": "the credentials have expired; provide new ones",
    "InvalidToken": "the session token of the credentials is not valid; provide new ones",
    "RequestTimeTooSkewed": "the clock of this host is too far off; set it",
    "PermanentRedirect": "the bucket is in another region; set `region`",
    "301": "the bucket is in another region; set `region`",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set `region`",
    "IllegalLocationConstraintException": "the bucket is in another region; set `region`",
    "NotImplemented": "the store does not know a request that publishing exactly once needs",
    "501": "the store does not know a request that publishing exactly once needs",
    "InvalidBucketName": "the name of the bucket is not valid; correct `path`",
    "InvalidStorageClass": "the store does not know this class; correct `storage_class`",
    "InvalidEncryptionAlgorithmError": "the store cannot encrypt so; correct "
    "`server_side_encryption`",
}
_BUSY = {
    "SlowDown": "the store asks to slow down",
    "503": "the store asks to slow down",
    "429": "the store asks to slow down",
    "TooManyRequests": "the store asks to slow down",
    "ConditionalRequestConflict": "another request for the same file is under way",
    "OperationAborted": "another request for the same file is under way",
    "NoSuchUpload": "the upload is gone from the store; it must be staged anew",
    "RequestTimeout": "the store waited too long for the request",
    "409": "another request for the same file is under way",
}


_ROLES = {
    "AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "GetRoleCredentials",
}  # fmt: skip
_NO_CREDENTIALS_NOW = (
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
)
_CHANCE = secrets.SystemRandom()

SEND_BYTES_PER_S = 32 << 10
"""What even a slow line sends; a call has that much more time for its body."""


@dataclass(frozen=True)
class Answer:
    """What the store answered. `code` is "" for success; `error` is what `call` would raise."""

    code: str = ""
    status: int = 200
    data: Mapping[str, Any] = field(default_factory=dict)
    error: RayflumeError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def absent(self) -> bool:
        return self.code in {"NoSuchKey", "404"}


class S3Client:
    """Calls for one bucket. Thread-safe. Every call blocks for at most `call_timeout`, with more
    time for the bytes it sends: a store that trickles its answer passes every other time-out.

    What failed is sent again, and credentials that have expired are renewed, before anybody hears
    of it.
    """

    def __init__(self, options: S3Options) -> None:
        self.bucket = options.bucket
        self.endpoint = options.endpoint or _endpoint_around()
        self._call_s = options.call_timeout / 1000
        self._retries = options.retries
        self._connection = Connection(options)

    def ask(self, method: str, **arguments: object) -> Answer:
        """One request for this bucket; an answer whatever happens. Blocks."""
        allowed = self._call_s + _size(arguments.get("Body")) / SEND_BYTES_PER_S
        try:
            return cast(
                "Answer", sync(self._loop, self._ask, method, arguments, allowed, timeout=allowed)
            )
        except Exception as error:  # asyncio's time-outs, which no answer can have
            return self._failed(error, arguments)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._connection.loop

    async def _ask(self, method: str, arguments: Mapping[str, object], allowed: float) -> Answer:
        until = self._loop.time() + allowed
        tries, renewed = 0, False
        while True:
            client = self._connection.client
            answer = await self._once(client, method, arguments)
            if answer.ok:
                return answer
            tries += 1
            found = verdict(answer.code, answer.status)
            if found is Verdict.RENEW and not renewed and await self._connection.renew(client):
                renewed = True
                continue
            pause = pause_s(found, tries, self._retries, _CHANCE.random())
            hopeless = answer.status == 0 and not isinstance(answer.error, StorageUnavailable)
            if pause is None or hopeless or self._loop.time() + pause > until:
                return answer
            await asyncio.sleep(pause)

    async def _once(
        self, client: s3fs.S3FileSystem, method: str, arguments: Mapping[str, object]
    ) -> Answer:
        sent = dict(arguments)
        if isinstance(sent.get("Body"), bytes):
            # Shares the bytes, from their beginning; the HTTP client warns of large raw ones.
            sent["Body"] = io.BytesIO(cast("bytes", sent["Body"]))
        try:
            return Answer(data=await self._connection.send(client, method, sent))
        except Exception as error:  # aiohttp, botocore, s3fs and asyncio each have their own tree
            return self._failed(error, arguments)

    def call(self, method: str, **arguments: object) -> Mapping[str, Any]:
        """As `ask`, but raises StorageDenied or StorageUnavailable. Blocks."""
        answer = self.ask(method, **arguments)
        if answer.error is not None:
            raise answer.error
        return answer.data

    def read(self, key: str) -> bytes | None:
        """All bytes of one object; None when there is none. Blocks."""
        answer = self.ask("get_object", Key=key)
        if answer.absent:
            return None
        return self.body(answer, key)

    def body(self, answer: Answer, key: str) -> bytes:
        """The bytes of an answer to `get_object`. Raises as `call` does. Blocks."""
        if answer.error is not None:
            raise answer.error
        try:
            return bytes(sync(self._loop, answer.data["Body"].read, timeout=self._call_s))
        except Exception as error:
            raise self._failed(error, {"Key": key}).error or error from error

    def pages(self, method: str, markers: Mapping[str, str], **arguments: object) -> Iterator[Any]:
        """All pages of a listing. `markers`: request parameter -> field of the answer it continues
        from. Blocks.
        """
        place: dict[str, object] = {}
        while True:
            page = self.call(method, **arguments, **place)
            yield page
            following = {name: page[key] for name, key in markers.items() if page.get(key)}
            if not page.get("IsTruncated") or not following or following == place:
                return
            place = following

    def close(self) -> None:
        """Close the connections. The next call would open new ones."""
        self._connection.close()

    def _failed(self, error: Exception, arguments: Mapping[str, object]) -> Answer:
        key = arguments.get("Key") or arguments.get("Prefix") or ""
        place = f"s3://{self.bucket}/{key} at {self.endpoint}"
        cause = client_error(error)
        if cause is None:
            return Answer(type(error).__name__, 0, error=_no_answer(error, place))
        code, status = answer_of(cause)
        if cause.operation_name in _ROLES:
            place = f"{place}: credentials could not be had ({cause.operation_name})"
        if self._connection.renewable and (expired(code) or code == "400"):
            return Answer(code, status, error=_awaiting(code, place))
        text = str(cause.response.get("Error", {}).get("Message", ""))
        return Answer(code, status, error=refusal(code, status, text, place))


def _endpoint_around() -> str:
    """The store that AWS's environment variables name, without a password in it."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    url = next((os.environ[name] for name in names if os.environ.get(name)), "")
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if url else "Amazon S3"


def _size(body: object) -> int:
    return len(body) if isinstance(body, bytes) else 0


def refusal(code: str, status: int, text: str, place: str) -> RayflumeError:
    """The error for an answer of the store."""
    if code in _DENIED:
        return StorageDenied(f"{place}: {_DENIED[code]} ({code})", code=code)
    if code.startswith("KMS."):
        return StorageDenied(
            f"{place}: the key cannot be used; correct `kms_key_id` ({code})", code=code
        )
    if code in _BUSY:
        return StorageUnavailable(f"{place}: {_BUSY[code]} ({code})", code=code)
    said = "".join(char if char.isprintable() else "?" for char in text)[:200]
    said = f"{code} {said}".strip() or f"status {status}"
    if status >= 500 or status in {0, 408, 409, 412, 429}:
        return StorageUnavailable(f"{place}: the store failed: {said}", code=code)
    return StorageDenied(f"{place}: the store refused: {said}", code=code)


def _no_answer(error: Exception, place: str) -> RayflumeError:
    """The error for a request that got no answer, or was never sent."""
    name = type(error).__name__
    if type(error) is boto.HTTPClientError:  # it only wraps the error that says what happened
        name = type(vars(error).get("kwargs", {}).get("error", error)).__name__
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return StorageDenied(
            f"{place}: no credentials were found; set `access_key` and `secret_key`, or AWS's own "
            "environment variables or files",
            code=name,
        )
    if isinstance(error, boto.ProfileNotFound):
        return StorageDenied(
            f"{place}: AWS's files have no such profile; correct `profile` or AWS_PROFILE",
            code=name,
        )
    if isinstance(error, boto.SSLError):
        return StorageDenied(
            f"{place}: the certificate of the endpoint is not trusted; correct `endpoint` or "
            "name its authority with `ca_file`",
            code=name,
        )
    if isinstance(error, _NO_CREDENTIALS_NOW):
        return StorageUnavailable(
            f"{place}: credentials could not be had from AWS's own chain ({name}); see that what "
            "gives them answers, then the sink goes on by itself",
            code=name,
        )
    lost = boto.HTTPClientError | boto.ConnectionError | asyncio.TimeoutError | OSError
    if isinstance(error, lost) or not isinstance(error, boto.BotoCoreError):
        return StorageUnavailable(
            f"{place}: the store does not answer; see that it runs and that `endpoint` is right "
            f"({name})",
            code=name,
        )
    return StorageDenied(f"{place}: the request could not be made ({name})", code=name)


def _awaiting(code: str, place: str) -> RayflumeError:
    """The error for credentials that have expired, when newer ones can still come."""
    seems = "seem to have" if code == "400" else "have"  # an answer to HEAD does not say why
    return StorageUnavailable(
        f"{place}: the credentials {seems} expired and AWS's own chain has no newer ones; renew "
        f"them where they come from, then the sink goes on by itself ({code})",
        code=code,
    )
