"""Addresses to listen on."""

from __future__ import annotations

import errno
import ipaddress
import socket

from rayflume.errors import OptionError

_BACKLOG = 512


def is_loopback(address: str) -> bool:
    """Whether only this host can reach what listens there; names other than localhost are not."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def listen(bind: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises OptionError, with what to do, when the address is not to be
    had.
    """
    try:
        family, address = _resolve(bind, port, socket.SOCK_STREAM)
        return socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise _refusal(error, bind, port) from error


def bind_datagrams(bind: str, port: int) -> socket.socket:
    """A bound UDP socket. Raises OptionError, with what to do, when the address is not to be
    had.
    """
    try:
        family, address = _resolve(bind, port, socket.SOCK_DGRAM)
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            bound.bind((address, port))
        except OSError:
            bound.close()
            raise
        return bound
    except OSError as error:
        raise _refusal(error, bind, port) from error


def _resolve(bind: str, port: int, kind: socket.SocketKind) -> tuple[socket.AddressFamily, str]:
    found = socket.getaddrinfo(bind or None, port, type=kind, flags=socket.AI_PASSIVE)
    return found[0][0], str(found[0][4][0])


def _refusal(error: OSError, bind: str, port: int) -> OptionError:
    place = f"port {port} on {bind}"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        text = f"bind: {bind!r} is not an address of this host"
    elif error.errno == errno.EADDRINUSE:
        text = f"port: {place} is in use; stop what listens there or choose another port"
    elif error.errno in (errno.EACCES, errno.EPERM):
        text = f"port: {place} needs a right this process lacks; choose a port above 1023"
    else:
        text = f"port: cannot listen on {place}: {error.strerror}"
    return OptionError(text)


def plain_address(address: str) -> str:
    """An IPv4 address that came by IPv6 in its own form."""
    return address.removeprefix("::ffff:") if "." in address else address
