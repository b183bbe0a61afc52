"""POSTs on a pool of connections that are kept open: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from rayflume.sinks._http_rules import NO_ANSWER, Rules, Verdict

_ANSWER_BYTES_MAX = 64 * 2**10
"""So much of an answer is read, so that its connection can be used again; a longer one ends it."""
_AGAIN = 3
"""Tries of a request whose status says: again, and at once."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to and how. Times in milliseconds."""

    endpoint: str
    headers: Mapping[str, str]
    connect_timeout_ms: int
    request_timeout_ms: int
    connections: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request; `reason` is for people."""

    verdict: Verdict
    reason: str


class Poster:
    """Used by one thread at a time. `open` before the first `post_all`, `close` after the last."""

    def __init__(self, target: Target, rules: Rules) -> None:
        self._target = target
        self._rules = rules
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="rayflume-http-sink", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Close all connections. Blocks until requests under way have ended."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        if self._session is not None:
            asyncio.run_coroutine_threadsafe(self._session.close(), loop).result()
            self._session = None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def post_all(self, bodies: Sequence[bytes]) -> list[Answer | None]:
        """What became of each, None for those that were not sent because of one before. Blocks.

        Bodies are begun in order; the first whose answer asks for a pause or a retry stops those
        that have not begun.
        """
        if self._loop is None:
            raise RuntimeError("the sink is not open")
        return asyncio.run_coroutine_threadsafe(self._post_all(bodies), self._loop).result()

    async def _post_all(self, bodies: Sequence[bytes]) -> list[Answer | None]:
        answers: list[Answer | None] = [None] * len(bodies)
        session = self._connected()
        ahead = iter(range(len(bodies)))
        halted = False

        async def lane() -> None:
            nonlocal halted
            while not halted and (place := next(ahead, None)) is not None:
                answer = await self._post(session, bodies[place])
                answers[place] = answer
                halted |= answer.verdict.rollback or answer.verdict.backoff

        await asyncio.gather(*(lane() for _ in range(min(self._target.connections, len(bodies)))))
        return answers

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            target = self._target
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=target.connections),
                headers=target.headers,
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=target.connect_timeout_ms / 1000,
                    sock_read=target.request_timeout_ms / 1000,
                ),
            )
        return self._session

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> Answer:
        answer = await self._once(session, body)
        for _ in range(_AGAIN - 1):
            if not answer.verdict.rollback or answer.verdict.backoff:
                break
            answer = await self._once(session, body)
        return answer

    async def _once(self, session: aiohttp.ClientSession, body: bytes) -> Answer:
        try:
            # A redirect would send events where no configuration says so (S17).
            async with session.post(
                self._target.endpoint, data=body, allow_redirects=False
            ) as response:
                status = response.status
                await _drained(response)
        except TimeoutError:
            return Answer(NO_ANSWER, "did not answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(NO_ANSWER, f"did not answer: {error or type(error).__name__}")
        return Answer(self._rules.verdict(status), f"answered {status}")


async def _drained(response: aiohttp.ClientResponse) -> None:
    """Read what is left of an answer whose status is known; whatever happens, it stands."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        left = _ANSWER_BYTES_MAX
        while left > 0 and (data := await response.content.readany()):
            left -= len(data)
        if left > 0:
            return
    response.close()
