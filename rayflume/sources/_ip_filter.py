"""Who may send: Flume's `ipFilterRules`, in the form of its Avro source (user guide, Avro Source).

`allow|deny:ip|name:pattern`; the first rule that matches decides, and no match allows. `*` and `?`
in a pattern stand for any text and any character. A pattern of `ip` may also be a network such as
`10.0.0.0/8`, which Flume does not know.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate
from typing import TypeAlias

from rayflume.errors import OptionError

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
HostName: TypeAlias = Callable[[str], str]
"""Address -> the name of its host, "" when it has none. May block."""

_FORM = "allow:ip:10.*, deny:name:*.example.com or deny:ip:*"


@dataclass(frozen=True, slots=True)
class _Rule:
    allow: bool
    name: bool
    text: str
    pattern: re.Pattern[str]
    network: Network | None

    def matches_address(self, address: str) -> bool:
        if self.network is not None:
            return ipaddress.ip_address(address.partition("%")[0]) in self.network
        return self.pattern.fullmatch(address) is not None


@dataclass(frozen=True, slots=True)
class IpFilter:
    """Rules in the order in which they are tried."""

    rules: tuple[_Rule, ...]

    @property
    def asks_names(self) -> bool:
        """Whether some sender's name must be looked up."""
        return any(rule.name and rule.text != "localhost" for rule in self.rules)

    def allows(self, address: str, host_name: HostName) -> bool:
        """Whether a sender may send. Asks for its name only when a rule comes to that."""
        for rule in self.rules:
            if rule.name:
                matches = _matches_name(rule, address, host_name)
            else:
                matches = rule.matches_address(address)
            if matches:
                return rule.allow
        return True


def parse_rules(rules: Iterable[str]) -> IpFilter | None:
    """One filter of all rules, None for no rules. Raises ValueError, with what is right."""
    parsed = tuple(_parse(rule.strip()) for rule in rules if rule.strip())
    return IpFilter(parsed) if parsed else None


def address_rules(rules: Iterable[str]) -> IpFilter | None:
    """As parse_rules, for those who do not look up names. Raises OptionError."""
    found = parse_rules(rules)
    if found is not None and found.asks_names:
        raise OptionError("ip_filter_rules: names are not looked up here; write ip rules")
    return found


def _parse(text: str) -> _Rule:
    access, _, rest = text.partition(":")
    what, colon, pattern = rest.partition(":")
    access, what, pattern = access.strip().lower(), what.strip().lower(), pattern.strip()
    if access not in ("allow", "deny") or what not in ("ip", "name") or not (colon and pattern):
        raise ValueError(f"{text!r} is no rule; write one like {_FORM}")
    network = None
    if what == "ip" and "/" in pattern:
        try:
            network = ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            raise ValueError(f"{pattern!r} is no network; write one like 10.0.0.0/8") from None
    regex = re.compile(translate(pattern.replace("[", "[[]")), re.IGNORECASE)
    return _Rule(access == "allow", what == "name", pattern.lower(), regex, network)


def _matches_name(rule: _Rule, address: str, host_name: HostName) -> bool:
    if rule.text == "localhost":
        return is_own(address)
    return rule.pattern.fullmatch(host_name(address)) is not None


def is_own(address: str) -> bool:
    """Whether it is an address of this host: only such a one can be bound."""
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
