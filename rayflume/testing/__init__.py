"""The contract of every kind of part, to run against a part of your own.

    import pytest
    from rayflume.testing import Check, Trial, checks

    from my_module import MySink

    @pytest.mark.parametrize("check", checks("sink"), ids=str)
    def test_my_sink(check: Check, tmp_path) -> None:
        check(Trial(MySink, {"url": "http://127.0.0.1:9"}, tmp_path))

Each check is a function and needs no pytest. rayflume's own parts pass the same ones, in
`tests/contract/`. What a check broke is said with its clause, as the protocol in
`rayflume.interfaces` words it. The parts that listen (ServerSource) have clauses that only a client
of theirs can check; of them `checks("server")` looks at the options and methods alone.
"""

from __future__ import annotations

from rayflume.completeness import EventTimes
from rayflume.component import Component
from rayflume.interfaces import (
    Channel,
    DeliveryWriter,
    Format,
    Interceptor,
    PollableSource,
    Selector,
    Sink,
)
from rayflume.testing import _channel, _format, _interceptor, _part, _selector, _sink, _source
from rayflume.testing._check import Check, ContractBroken, checks_of
from rayflume.testing._trial import Trial

__all__ = ["KINDS", "Check", "ContractBroken", "Trial", "checks"]

_SUITES = {
    "source": (_source, (PollableSource,)),
    "server": None,
    "interceptor": (_interceptor, (Interceptor,)),
    "selector": (_selector, (Selector,)),
    "channel": (_channel, (Channel, EventTimes)),
    "sink": (_sink, (Sink, DeliveryWriter)),
    "format": (_format, (Format,)),
}
KINDS = tuple(_SUITES)
"""What there are checks for."""


def checks(kind: str) -> list[Check]:
    """All checks of a kind of part, in the order of its clauses. Raises KeyError: none is of it."""
    suite = _SUITES[kind]
    found = checks_of(_part, (Component,))
    return found if suite is None else [*found, *checks_of(*suite)]
