"""What the HTTP source was told, resolved and checked: limits, secrets and TLS."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from rayflume.sources._ip_filter import IpFilter
from rayflume.sources._tls import ServerTls

EVENT_FIELDS_MAX = 2_000
"""Header names that one event may have."""
OBJECTS_MAX = 1_000_000
"""Braces and brackets in one JSON request, those inside texts included."""
INFLATED_BYTES_MAX = 64 * 2**20
INFLATED_RATIO_MAX = 100
INFLATED_BYTES_FREE = 64 * 2**10
"""Up to so many bytes the ratio is not looked at: a small body of zeros harms nobody."""
GROUP_REQUESTS_MAX = 1_024
GROUP_HEADER_CELLS_MAX = 16_384
"""Header names times requests of one put: joining them costs that many steps."""
RETRY_AFTER_S = 1
HOLD_OFF_MS = 100
HOLD_OFF_MS_MAX = 1_000
READY_AFTER_MS = 2_000
"""So long after a refused put the server says that it is not ready, unless a put succeeds."""
STALLED_AFTER_MS = 10_000
BODY_GRACE_MS = 5_000
"""The rate of a body is not looked at before this time."""
HANDSHAKE_TIMEOUT_S = 5.0
LINGER_S = 5.0
"""How long the rest of a refused request is read and thrown away, so that its answer arrives."""
SWEEP_S = 0.25
REFRESH_SWEEPS = 4
"""How often certificates are looked at, in sweeps."""
STOP_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits in bytes, milliseconds and connections.

    `source`: the id by which its keys are known. `life_prefix`: what the names of all its lives on
    this host begin with. `token_hash`: None lets anybody in. `handler`: `json` or `blob` on every
    path, as in Flume; "": by the path.
    """

    bind: str
    port: int
    source: str
    life_prefix: str
    request_bytes_max: int
    record_bytes_max: int
    pending_bytes_max: int
    batch_bytes: int
    connections_max: int
    connections_per_address_max: int
    header_timeout_ms: int
    idle_timeout_ms: int
    body_rate_min: int
    headers_from_request: tuple[str, ...] = ()
    token_hash: bytes | None = None
    tls: ServerTls | None = None
    ip_filter: IpFilter | None = None
    handler: str = ""
    blob_bytes_max: int = 0
    mandatory_parameters: tuple[str, ...] = ()

    def admits(self, authorization: str | None) -> bool:
        """Whether an Authorization header carries the token; takes the same time for any text."""
        if self.token_hash is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        right = hmac.compare_digest(hash_token(given.strip()), self.token_hash)
        return right and scheme.lower() == "bearer"


def hash_token(token: str) -> bytes:
    """What is kept of a token, so that the token itself is nowhere in memory dumps of settings."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
