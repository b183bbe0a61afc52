"""The one exception of the HTTP source."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """A request that is answered with an error: status and one short sentence."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
