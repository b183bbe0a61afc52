"""Whether anything listens at the address of a Ray cluster.

It is asked before Ray is: Ray tries for minutes, with log lines of its own, and the address of a
cluster that has ended stays in its temporary folder.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rayflume.addresses import is_loopback
from rayflume.errors import ConfigError

ANSWER_S = 5.0
_NEXT = "`ray start --head` starts one, and `--address HOST:PORT` names another"
_LATEST = "ray/ray_current_cluster"
"""Where Ray writes the address of the cluster of this host that was started last."""


def check_answers(address: str, environ: Mapping[str, str] | None = None) -> None:
    """Raises ConfigError with what to do when nothing listens at the address: `host:port`, or
    `auto` as Ray reads it. Of `ray://...` nothing is known here. Blocks for at most ANSWER_S.
    """
    around = os.environ if environ is None else environ
    place = resolved(address, around)
    if not place and not _runs_here():
        raise ConfigError(f"no Ray cluster runs on this host; {_NEXT}")
    host, colon, port = place.rpartition(":")
    if not colon or "://" in place or not port.isdecimal() or _answers(host, int(port)):
        return
    if address == "auto" and not around.get("RAY_ADDRESS") and _runs_here():
        return  # Ray looks for it among the processes
    what = f" ({address})" if address != place else ""
    raise ConfigError(f"no Ray cluster answers at {place}{what}; {_NEXT}")


def no_ray(address: str | None, error: Exception) -> ConfigError:
    """What a failed connection, or start on this machine, is to the user."""
    reason = (str(error).strip().splitlines() or [repr(error)])[-1].rstrip(".")
    if address is None:
        return ConfigError(
            f"Ray does not start on this machine: {reason}; try again when it is less busy, or run "
            "without Ray: --inline"
        )
    return ConfigError(f"no Ray at {address}: {reason}; {_NEXT}")


def resolved(address: str, environ: Mapping[str, str]) -> str:
    """What `auto` stands for: RAY_ADDRESS, else the cluster that was started last; "" if none is
    known. Any other address as it is.
    """
    if address != "auto":
        return address
    if environ.get("RAY_ADDRESS"):
        return environ["RAY_ADDRESS"]
    folder = Path(environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    try:
        return (folder / _LATEST).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _answers(host: str, port: int) -> bool:
    """Of loopback Ray makes this host's own address, and it may listen at that alone."""
    places = [host, *_own_address()] if is_loopback(host) else [host]
    return any(_listens(place, port) for place in places)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host.strip("[]"), port), ANSWER_S).close()
    except (OSError, OverflowError, UnicodeError):
        return False
    return True


def _own_address() -> list[str]:
    """The address by which others reach this host; none without a network. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address of no host (RFC 5737)
        except OSError:
            return []
        return [str(probe.getsockname()[0])]


def _runs_here() -> bool:
    """Whether the head process of any Ray cluster runs on this host."""
    for found in Path("/proc").glob("[0-9]*/comm"):
        try:
            if found.read_text().strip() == "gcs_server":
                return True
        except OSError:
            continue  # it has ended meanwhile
    return False
