"""The client of one bucket: how it is made, how its credentials are renewed, and how many requests
it sends at once.

All of it but `close` runs in the event loop of fsspec, in one thread, so nothing here is locked but
what waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import s3fs
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError
from fsspec.asyn import get_loop, sync

from rayflume.storage._s3_retry import Verdict, Window, verdict

if TYPE_CHECKING:
    from rayflume.storage._s3_options import S3Options


class Connection:
    """The s3fs client of now. `renewable`: whether AWS's own chain gives the credentials."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self.renewable = options.renewable
        self.loop: asyncio.AbstractEventLoop = get_loop()
        self.throttle = Throttle(2 * options.concurrency + 8)
        self.client = self._made(AioSession(profile=options.profile))
        self._renewing = asyncio.Lock()

    async def send(
        self, client: s3fs.S3FileSystem, method: str, arguments: Mapping[str, object]
    ) -> Mapping[str, Any]:
        """One request with that client. Raises what botocore, aiohttp and asyncio raise."""
        async with self.throttle.place():
            data: Mapping[str, Any] = await client._call_s3(
                method, Bucket=self._options.bucket, **arguments
            )
            return data

    async def renew(self, used: s3fs.S3FileSystem) -> bool:
        """Ask the chain anew after credentials were refused. False: it has no others than those of
        the client that was used.
        """
        if not self.renewable:
            return False
        async with self._renewing:
            if self.client is not used:
                return True  # a request that failed at the same time has done it
            # The chain may be in the middle of a change; then the store's answer stands for now.
            with suppress(Exception):
                session = AioSession(profile=self._options.profile)
                if await _credentials(session) != await _credentials(used.session):
                    # Requests under way keep the old client, which closes when the last has ended.
                    self.client = self._made(session)
                    return True
        return False

    def close(self) -> None:
        """Close the connections. The next request would open new ones."""
        creator = getattr(self.client, "_s3creator", None)
        if creator is not None:
            with suppress(Exception):
                sync(self.loop, creator.__aexit__, None, None, None)

    def _made(self, session: AioSession) -> s3fs.S3FileSystem:
        options = self._options
        written: dict[str, object] = {}
        if options.server_side_encryption:
            written["ServerSideEncryption"] = options.server_side_encryption
        if options.kms_key_id:
            written["SSEKMSKeyId"] = options.kms_key_id
        client: dict[str, object] = {}
        if options.region:
            client["region_name"] = options.region
        if options.ca_file:
            client["verify"] = options.ca_file
        made = s3fs.S3FileSystem(
            key=options.access_key and options.access_key.get_secret_value(),
            secret=options.secret_key and options.secret_key.get_secret_value(),
            token=options.session_token and options.session_token.get_secret_value(),
            endpoint_url=options.endpoint,
            requester_pays=options.requester_pays,
            s3_additional_kwargs=written,  # s3fs gives each request those that it knows
            client_kwargs=client,
            config_kwargs=self._config(),
            session=session,
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        made.retries = 1  # S3Client sends again, and knows what it may
        return made

    def _config(self) -> dict[str, object]:
        options = self._options
        config: dict[str, object] = {
            "connect_timeout": options.connect_timeout / 1000,
            "read_timeout": options.read_timeout / 1000,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": self.throttle.ceiling,
            # Stores other than Amazon's often do not know the newer checksums; the signature over
            # plain HTTP and TLS otherwise guard the bytes on their way.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        path_style = options.path_style
        if path_style is None and options.endpoint:
            path_style = True
        if path_style is not None:
            config["s3"] = {"addressing_style": "path" if path_style else "virtual"}
        return config


class Throttle:
    """Lets as many requests go as the store bears. For one event loop."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self._window = Window.open(ceiling)
        self._under_way = 0
        self._round = 0
        self._changed = asyncio.Condition()

    @property
    def room(self) -> int:
        """Requests that may be under way now."""
        return self._window.room

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for room, then count what happens inside as one request."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < self._window.room)
            self._under_way += 1
        begun = self._round
        try:
            yield
            self._window = self._window.widened()
        except Exception as error:
            # Requests that were under way together are halved once, however many were refused.
            if begun == self._round and slowed(error):
                self._window = self._window.halved(self._under_way)
                self._round += 1
            raise
        finally:
            self._under_way -= 1
            async with self._changed:
                self._changed.notify_all()


def slowed(error: BaseException) -> bool:
    """Whether the store asked to slow down."""
    cause = client_error(error)
    return cause is not None and verdict(*answer_of(cause)) is Verdict.SLOWER


def client_error(error: BaseException) -> ClientError | None:
    """What the store said, below what s3fs made of it; None when it said nothing."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ClientError):
        cause = cause.__cause__
    return cause


def answer_of(error: ClientError) -> tuple[str, int]:
    """Code and HTTP status of an answer."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code, int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


async def _credentials(session: AioSession) -> tuple[str, str, str | None] | None:
    found = await session.get_credentials()
    if found is None:
        return None
    frozen = await found.get_frozen_credentials()
    return frozen.access_key, frozen.secret_key, frozen.token
